"""Sessions that are over: telling others how they ended, and learning it of those that ended in doubt.

A device that was away, or that crashed, may not know whether a session it dealt to was opened; its owner's
ledger then counts it as opened over all sites. What proves an end convinces everybody (t+1 result ballots, or
abort ballots that exclude an opening), so whoever has such a proof keeps it and tells it to any party of the
session that asks (`Resumed`), also after a restart; whoever lacks it asks the others of the plan until one
has told it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import structlog
import trio

from mesh.runtime.journal import End, Journal, JournalFull
from mesh.runtime.postman import Postman
from protocols.errors import MalformedMessage, MeshError, UnexpectedMessage
from protocols.identifiers import PartyId, SessionId
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.aborting import check_proof
from protocols.sessions.excerpt import KnownPlan
from protocols.sessions.handover import replay
from protocols.sessions.messages import AbortProof, Result, Resumed
from protocols.sessions.opening import check_result
from protocols.sessions.plan import Plan
from protocols.wire import codec

log = structlog.get_logger("coppice.session")

ASK_S = 20.0
"""Doubts are cleared up by whoever has a proof; one question to each peer this often costs nothing."""
MAX_DOUBTS = 64
"""Asked about at once; the newest first."""
MAX_ANSWERS = 32
"""To one peer between two rounds of asking: each is a look into the journal."""

PROOFS: dict[str, type[Result] | type[AbortProof] | type[AbortVote]] = {
    Result.KIND: Result,
    AbortProof.KIND: AbortProof,
    AbortVote.KIND: AbortVote,
}

Learned = Callable[[Plan, Result | AbortProof], Awaitable[None]]


class Aftermath:
    """What is kept of ended sessions, asked and answered. `run` must be running."""

    def __init__(
        self,
        me: PartyId,
        journal: Journal,
        postman: Postman,
        links: Callable[[], set[PartyId]],
        learned: Learned,
    ) -> None:
        """`learned` is told of proofs for sessions that ended in doubt here."""
        self._me = me
        self._journal = journal
        self._postman = postman
        self._links = links
        self._learned = learned
        self._answers: Counter[PartyId] = Counter()
        self._seen: set[PartyId] = set()
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Ask until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            while True:
                self._answers.clear()
                await self._ask(self._links())
                await trio.sleep(ASK_S)

    def linked(self) -> None:
        """Links came or went: ask those that are new."""
        links = self._links()
        fresh, self._seen = links - self._seen, links
        if fresh and self._nursery is not None:
            self._nursery.start_soon(self._ask, fresh)

    async def _ask(self, peers: set[PartyId]) -> None:
        try:
            doubts = await trio.to_thread.run_sync(self._journal.unclear, MAX_DOUBTS)
        except JournalFull as error:
            log.warning("journal", why=str(error))
            return
        for session, encoded in doubts:
            try:
                plan = codec.decode(KnownPlan, encoded).read(self._me)
            except MalformedMessage:
                continue  # stored by another version of this software
            told = tuple(sorted(peers & set(plan.parties) - {self._me}))
            self._postman.post(told, Resumed(), session=session, epoch=plan.epoch)

    def heard(self, session: SessionId, sender: PartyId, message: object) -> bool:
        """Whether a message was about a session that is over here. Raises ProtocolError."""
        if not isinstance(message, Resumed | Result | AbortProof):
            return False
        self._answers[sender] += 1
        if self._answers[sender] > MAX_ANSWERS:
            raise UnexpectedMessage("too many questions about sessions that are over")
        end = self._journal.ending(session)
        if end is None:
            return False
        if isinstance(message, Resumed):
            kept = _kept(end)
            if kept is not None:
                self._postman.post((sender,), kept, session=session, epoch=end.epoch)
        elif end.proof is None and end.plan is not None and self._nursery is not None:
            plan = codec.decode(KnownPlan, end.plan).read(self._me)
            check(plan, message)
            self._nursery.start_soon(self._learn, plan, message)
        return True

    def knows(self, session: SessionId) -> bool:
        """Whether this node ever said anything in the session. Raises JournalFull."""
        return self._journal.knows(session)

    def proof(self, session: SessionId) -> Result | AbortProof | None:
        """How a session that is over here ended, if that is known. Raises JournalFull."""
        end = self._journal.ending(session)
        kept = None if end is None else _kept(end)
        return None if isinstance(kept, AbortVote) else kept

    def aborted(self, session: SessionId) -> bool:
        """Whether nothing was opened for certain, though this node may not be able to prove it to others."""
        end = self._journal.ending(session)
        return end is not None and end.outcome == "Aborted" and end.plan is None

    async def _learn(self, plan: Plan, proof: Result | AbortProof) -> None:
        try:
            await self._learned(plan, proof)
            outcome = "Opened" if isinstance(proof, Result) else "Aborted"
            await self._journal.end(plan.session, outcome, epoch=plan.epoch, proof=proof)
        except MeshError as error:
            log.warning("how a session ended is not stored", why=error.sentence())
            return
        log.info("end learned", session=plan.session.short(), outcome=outcome)


def _kept(end: End) -> Result | AbortProof | AbortVote | None:
    """What proves how a session ended, or our own ballot in one that we declined (see `refusals`)."""
    if end.proof is None or end.proof_kind not in PROOFS:
        return None
    return codec.decode(PROOFS[end.proof_kind], end.proof)


def check(plan: Plan, proof: Result | AbortProof) -> None:
    """Raise MalformedMessage unless `proof` shows how the session of `plan` ended."""
    if isinstance(proof, AbortProof):
        check_proof(plan, proof)
        return
    try:
        check_result(replay(plan, plan.root, proof.interim, proof.handovers), proof)
    except UnexpectedMessage as error:
        raise MalformedMessage(str(error)) from error
