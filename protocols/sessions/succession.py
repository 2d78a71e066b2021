"""The generations of each stage, as far as one party knows them, and what came for one it does not know yet.

A generation is entered with the certificate of the interim roster, or of the handover, that ended the one
before; there is only one (see `handover`). Certificates are told to all who need them: the stage's members of
both generations, its substitutes, adders and dealers, and those of the stage above, who check what the new
seats send. They may come after what builds on them, which is kept until then, a few messages for each sender.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.errors import UnexpectedMessage
from protocols.sessions.assembly import Assembly, first_generation, with_source
from protocols.sessions.early import Early
from protocols.sessions.handover import check_handover, check_interim
from protocols.sessions.messages import (
    Certificate,
    Deal,
    HandoverCertificate,
    HandoverProposal,
    OpeningShare,
    Part,
    Parts,
    Proposal,
    ResultVote,
)
from protocols.sessions.plan import Plan

Slot = tuple[int, int]  # stage and generation


class Succession:
    """Chains of generations by stage; a stage that nobody left has the one of the plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.interim: dict[int, list[Certificate]] = {}
        self.early = Early(plan)
        self._chains: dict[int, list[Assembly]] = {}

    def of(self, stage: int) -> list[Assembly]:
        """All generations that we know. Raises UnexpectedMessage for a stage that there is not."""
        known = self._chains.get(stage)
        if known is None:
            if not 0 <= stage < len(self.plan.stages):
                raise UnexpectedMessage(f"there is no stage {stage}")
            known = self._chains[stage] = [first_generation(self.plan, stage)]
        return known

    def latest(self, stage: int) -> Assembly:
        """Who sits there now."""
        return self.of(stage)[-1]

    def at(self, slot: Slot) -> Assembly | None:
        """One generation, if we know it."""
        chain = self.of(slot[0])
        return chain[slot[1]] if slot[1] < len(chain) else None

    def append(self, assembly: Assembly) -> None:
        """One more, which has been checked. The stage above takes the sum from there."""
        stage = assembly.stage
        self.of(stage).append(self._current(assembly))
        if stage != self.plan.root:
            above = self.of(self.plan.parent_of(stage))
            above[:] = [with_source(one, self.latest(stage)) for one in above]

    def enter(self, certificate: Certificate) -> Assembly | None:
        """The generation after an interim roster; None if we know it. Raises MalformedMessage."""
        stage, generation = certificate.roster.stage, certificate.roster.generation
        assembly = self.at((stage, generation))
        if assembly is None or generation + 1 < len(self.of(stage)):
            return None
        self.append(check_interim(assembly, certificate))
        self.interim.setdefault(stage, []).append(certificate)
        return self.latest(stage)

    def hand_over(self, message: HandoverCertificate) -> Assembly | None:
        """The generation after a handover; None if we know it. Raises MalformedMessage."""
        stage, generation = message.handover.stage, message.handover.generation
        assembly = self.at((stage, generation))
        if assembly is None or generation + 1 < len(self.of(stage)):
            return None
        self.append(check_handover(assembly, message))
        return self.latest(stage)

    def lineage(self, assembly: Assembly) -> dict[int, Assembly]:
        """The assemblies whose sums this one takes in, by the stage they belong to."""
        sources = {source.child: self.at((source.child, source.generation))
                   for source in assembly.sources if source.known and not source.is_devices}  # fmt: skip
        return {child: known for child, known in sources.items() if known is not None}

    def takers(self, assembly: Assembly, interim: bool) -> list[Assembly]:
        """Who is dealt the shares of this generation's sum: the next one, the stage above, or both."""
        after = self.at((assembly.stage, assembly.generation + 1))
        takers = [] if after is None else [after]
        if not assembly.is_root and not interim:
            takers.append(self.latest(self.plan.parent_of(assembly.stage)))
        return takers

    def ahead(self, message: object) -> Slot | None:
        """A generation that this message builds on, and that we do not know yet; `rootwork` keeps its own."""
        if isinstance(message, OpeningShare | ResultVote):
            return None
        generation = getattr(message, "generation", None)
        if generation is not None:
            return self._unknown([(getattr(message, "stage", 0), generation)]) if generation else None
        match message:
            case Deal():
                dealt = () if message.certificate is None else (message.certificate.roster,)
                slots = [(message.dealing.stage, message.dealing.generation)]
                slots += [(roster.stage, roster.generation) for roster in dealt]
            case Part() | Parts():
                slots = [(message.dealing.stage, message.dealing.generation)]
            case Proposal():
                rosters = (message.roster, *(certificate.roster for certificate in message.certificates))
                slots = [(roster.stage, roster.generation) for roster in rosters]
            case Certificate():
                slots = [(message.roster.stage, message.roster.generation)]
            case HandoverProposal() | HandoverCertificate():
                slots = [(message.handover.stage, message.handover.generation)]
            case _:
                return None
        return self._unknown(slots)

    def _unknown(self, slots: Sequence[Slot]) -> Slot | None:
        for slot in slots:
            if slot[1] > 0 and self.at(slot) is None:
                return slot
        return None

    def _current(self, assembly: Assembly) -> Assembly:
        for source in assembly.sources:
            if source.known and not source.is_devices and source.child != assembly.stage:
                assembly = with_source(assembly, self.latest(source.child))
        return assembly
