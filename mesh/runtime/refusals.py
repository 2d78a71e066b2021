"""Plans that this node takes no part in: it says so, and sticks to it.

Who may sit at the root of a plan that it declines gives the abort ballot of somebody that voted for nothing
and never will (protocols.sessions.aborting): with it, everybody can be shown that nothing was opened. For the
promise to hold the session is in the journal, as ended, before the ballot leaves: the plan is not judged anew
when it is offered again, after a restart either. Who missed the ballot asks for it (see `aftermath`).

Nobody fills the journal with plans that we decline. Nothing is promised about a plan that was not even looked
at, as too much is going on; nor about one that no honest party takes part in, whatever its view: that one
needs no proof. Of the rest each initiator gets BALLOTS in PERIOD_S, repeated ones included; beyond we say no
and promise nothing. Else it could push out of the journal (KEEP_SESSIONS) what we are bound by, and
have a plan judged anew that we had promised never to take part in: that session could end both ways.
"""

from __future__ import annotations

from collections import deque

import structlog
import trio

from mesh.runtime.journal import Journal, JournalFull
from mesh.runtime.postman import Postman
from protocols.errors import MalformedMessage, MeshError
from protocols.identifiers import PartyId
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.aborting import audience, refusal, seatable
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Decline
from protocols.sessions.plan import Plan
from protocols.wire import codec

log = structlog.get_logger("coppice.session")

DECLINED = "Declined"
"""How such a session ended, in the journal."""
BALLOTS = 64
PERIOD_S = 3600.0


class Refusals:
    """Says no for one node."""

    def __init__(self, keys: PartyKeys, journal: Journal, postman: Postman) -> None:
        self._keys = keys
        self._journal = journal
        self._postman = postman
        self._given: dict[PartyId, deque[float]] = {}

    async def is_known(self, plan: Plan) -> bool:
        """Whether this node was in the session before; if it declined it, it says so once more."""
        if not await trio.to_thread.run_sync(self._journal.knows, plan.session):
            return False
        end = await trio.to_thread.run_sync(self._journal.ending, plan.session)
        if end is not None and end.outcome == DECLINED:
            ballot = (
                codec.decode(AbortVote, end.proof) if end.proof and self._may_give(plan.initiator) else None
            )
            self._say(plan, "declined before", ballot)
        return True

    def decline(self, plan: Plan, reason: str) -> None:
        """Not now; it may be offered again."""
        self._say(plan, reason, None)

    async def refuse(self, plan: Plan, error: MeshError) -> None:
        """For good, where we may sit at the root and others may take part (see the module)."""
        reason, serves = error.sentence(), not isinstance(error, MalformedMessage)
        binds = serves and self._keys.party in seatable(plan) and self._may_give(plan.initiator)
        ballot = refusal(plan, self._keys, reason) if binds else None
        if ballot is not None:
            try:
                await self._journal.begin(plan.session)
                await self._journal.end(plan.session, DECLINED, epoch=plan.epoch, proof=ballot)
            except JournalFull as full:
                log.warning("journal", why=str(full))
                ballot = None
        self._say(plan, reason, ballot)

    def _may_give(self, initiator: PartyId) -> bool:
        now, given = trio.current_time(), self._given.setdefault(initiator, deque(maxlen=BALLOTS))
        if len(given) == BALLOTS and given[0] > now - PERIOD_S:
            return False
        given.append(now)
        return True

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
