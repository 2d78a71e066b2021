"""Plans that this node takes no part in: it says so, and sticks to it.

Who may sit at the root of a plan that it declines gives the abort ballot of somebody that voted for nothing
and never will (protocols.sessions.aborting): with it, everybody can be shown that nothing was opened. For the
promise to hold the session is in the journal, as ended, before the ballot leaves: the plan is not judged anew
when it is offered again, after a restart either. Who missed the ballot asks for it (see `aftermath`).

A plan that is declined because too much is going on is not promised anything about, so that nobody fills the
journal with plans that were not even looked at.
"""

from __future__ import annotations

import structlog
import trio

from mesh.runtime.journal import Journal, JournalFull
from mesh.runtime.postman import Postman
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.aborting import audience, refusal, seatable
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Decline
from protocols.sessions.plan import Plan
from protocols.wire import codec

log = structlog.get_logger("coppice.session")

DECLINED = "Declined"
"""How such a session ended, in the journal."""


class Refusals:
    """Says no for one node."""

    def __init__(self, keys: PartyKeys, journal: Journal, postman: Postman) -> None:
        self._keys = keys
        self._journal = journal
        self._postman = postman

    async def is_known(self, plan: Plan) -> bool:
        """Whether this node was in the session before; if it declined it, it says so once more."""
        if not await trio.to_thread.run_sync(self._journal.knows, plan.session):
            return False
        end = await trio.to_thread.run_sync(self._journal.ending, plan.session)
        if end is not None and end.outcome == DECLINED:
            self._say(plan, "declined before", codec.decode(AbortVote, end.proof) if end.proof else None)
        return True

    def decline(self, plan: Plan, reason: str) -> None:
        """Not now; it may be offered again."""
        self._say(plan, reason, None)

    async def refuse(self, plan: Plan, reason: str) -> None:
        """For good, where we may sit at the root."""
        ballot = refusal(plan, self._keys, reason) if self._keys.party in seatable(plan) else None
        if ballot is not None:
            try:
                await self._journal.begin(plan.session)
                await self._journal.end(plan.session, DECLINED, epoch=plan.epoch, proof=ballot)
            except JournalFull as error:
                log.warning("journal", why=str(error))
                ballot = None
        self._say(plan, reason, ballot)

    def _say(self, plan: Plan, reason: str, ballot: AbortVote | None) -> None:
        me = self._keys.party
        stage = plan.cluster_of(me)
        adders = plan.stages[stage].adders if stage is not None else ()
        told = [party for party in dict.fromkeys((plan.initiator, *adders)) if party != me]
        decline = Decline(stage or 0, reason[:500], whole=True)
        self._postman.post(told, decline, session=plan.session, epoch=plan.epoch, stage=stage or 0)
        if ballot is not None:
            others = [party for party in audience(plan) if party != me]
            self._postman.post(others, ballot, session=plan.session, epoch=plan.epoch)
