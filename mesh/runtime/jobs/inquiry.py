"""Asking the data owners before planning: who would contribute to this job, who not, and why.

The answer binds nobody. Consent is given to the signed plan alone (its parties, threshold and outputs);
asking first only keeps those who would refuse out of it, and tells the requester their reasons at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import trio

from mesh.data.policy import Decision
from protocols.identifiers import PartyId
from protocols.sessions.plan import Job
from protocols.wire.bounds import AtMost, Between, Exactly

PATIENCE_S = 2.5
"""How long answers are awaited; who has not answered by then is not planned with."""

InquiryId = Annotated[bytes, Exactly(16)]


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Requester to owner: would you contribute?"""

    KIND: ClassVar[str] = "inquiry"
    id: InquiryId
    job: Job
    sites: Annotated[int, Between(0, 4096)]
    threshold: Annotated[int, Between(0, 16)]


@dataclass(frozen=True, slots=True)
class InquiryAnswer:
    """Owner to requester."""

    KIND: ClassVar[str] = "inquiry-answer"
    id: InquiryId
    willing: bool
    reason: Annotated[str, AtMost(512)]
    whole: bool = False
    """Willing only if all who are planned with are in the answer: this site answered the like before."""
    held: Annotated[tuple[Annotated[str, AtMost(128)], ...], AtMost(64)] = ()
    """Of a job over columns that different sites hold: those that this willing site would deal."""


def answer_to(inquiry: Inquiry, decision: Decision, words: str) -> InquiryAnswer:
    """The answer that a decision makes; `words` give its reason if it is a denial."""
    reason = "" if decision.allowed else words[:500]
    return InquiryAnswer(inquiry.id, decision.allowed, reason, decision.whole, decision.held[:64])


class Poll:
    """Answers to one inquiry."""

    def __init__(self, asked: frozenset[PartyId]) -> None:
        self.missing = set(asked)
        self.willing: set[PartyId] = set()
        self.reasons: dict[PartyId, str] = {}
        self.whole = False
        self.held: dict[PartyId, tuple[str, ...]] = {}
        self.silent: set[PartyId] = set()
        """Those of `reasons` who did not answer: they may the next time."""
        self._complete = trio.Event()
        if not self.missing:
            self._complete.set()

    def answer(self, sender: PartyId, answer: InquiryAnswer) -> None:
        """Count the first answer of each party that was asked."""
        if sender not in self.missing:
            return
        self.missing.discard(sender)
        if answer.willing:
            self.willing.add(sender)
            self.whole = self.whole or answer.whole
            self.held[sender] = answer.held
        else:
            self.reasons[sender] = answer.reason
        self._check()

    def lose(self, party: PartyId) -> None:
        """The party cannot be reached any more."""
        if party in self.missing:
            self.missing.discard(party)
            self.reasons[party] = "not reachable"
            self.silent.add(party)
            self._check()

    async def wait(self) -> None:
        """Until everybody answered, or patience is over; the silent ones are then refusals."""
        with trio.move_on_after(PATIENCE_S):
            await self._complete.wait()
        self.silent |= self.missing
        for party in self.missing:
            self.reasons[party] = f"no answer within {PATIENCE_S:g} s"

    def _check(self) -> None:
        if not self.missing:
            self._complete.set()
