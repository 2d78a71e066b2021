"""One committee at work on one sum: a stage of the plan in one generation of its seats.

Generation 0 takes its inputs from the stage's devices or from the committees of its child stages.
Generation g+1 takes them from generation g of the same stage: that is how a substitute gets the seat
of a member that left, with the very same machine that carries sums up the tree.

Widths. A device deals L + 2m + 2 elements: payload, m = plan.hops pairs of masks, and the two mask rows
of its own consistency proof. The proof's rows are dropped by each receiver; each resharing consumes the
last pair of masks. All sharings that reach a stage have come over equally many hops, because the plan's
tree is levelled by `hops_used`: children of lesser height drop their surplus pairs when they deal.

Symbols: L payload length, m mask pairs left, n seats, t threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from protocols.errors import MalformedMessage
from protocols.identifiers import PartyId, Point, SessionId
from protocols.sessions.messages import HandoverCertificate
from protocols.sessions.plan import Plan, Seat, Stage


@dataclass(frozen=True, slots=True)
class Source:
    """One sum that an assembly takes in: `child` -1 is a cluster of devices, else a stage's committee."""

    child: int
    generation: int
    dealers: tuple[PartyId, ...]
    threshold: int

    @property
    def is_devices(self) -> bool:
        """Device inputs are added as they are; a committee's sub-shares are recombined by Lagrange."""
        return self.child < 0

    def point_of(self, dealer: PartyId) -> Point:
        """Point of a committee member whose share is reshared."""
        return Point(self.dealers.index(dealer) + 1)


@dataclass(frozen=True)
class Assembly:
    """Seats, adders and sources of one stage in one generation."""

    plan: Plan
    stage: int
    generation: int
    seats: tuple[Seat, ...]
    sources: tuple[Source, ...]

    @property
    def session(self) -> SessionId:
        """Session of the plan."""
        return self.plan.session

    @property
    def blueprint(self) -> Stage:
        """The stage as the plan has it."""
        return self.plan.stages[self.stage]

    @property
    def threshold(self) -> int:
        """t of the committee."""
        return self.blueprint.threshold

    @property
    def quorum(self) -> int:
        """Ballots of a certificate."""
        return self.blueprint.quorum

    @property
    def adders(self) -> tuple[PartyId, ...]:
        """Sub-aggregators in rank order."""
        return self.blueprint.adders

    @cached_property
    def members(self) -> tuple[PartyId, ...]:
        """Parties in seat order."""
        return tuple(seat.party for seat in self.seats)

    @property
    def is_root(self) -> bool:
        """Only the root opens."""
        return self.stage == self.plan.root

    @cached_property
    def expected(self) -> dict[PartyId, list[Source]]:
        """Who may deal to this assembly, and for which sources (a gateway may sit in several child committees)."""
        table: dict[PartyId, list[Source]] = {}
        for source in self.sources:
            for dealer in source.dealers:
                table.setdefault(dealer, []).append(source)
        return table

    @cached_property
    def masks_dealt(self) -> int:
        """Mask pairs in a sharing that is dealt to this assembly."""
        return self.plan.hops - (height(self.plan, self.stage) - 1) - self.generation

    @property
    def dealt_width(self) -> int:
        """Elements that a dealer shares: payload, masks, and two rows of the consistency proof."""
        return self.plan.length + 2 * self.masks_dealt + 2

    @property
    def held_width(self) -> int:
        """Elements of the sum this assembly ends with: a resharing has used up one pair of masks."""
        used = 0 if self.sources[0].is_devices else 1
        return self.plan.length + 2 * (self.masks_dealt - used)

    def seat_of(self, party: PartyId) -> int | None:
        """Index of the seat that `party` holds, or None."""
        return self.members.index(party) if party in self.members else None

    def current_adder(self, lost: frozenset[PartyId]) -> PartyId | None:
        """The first adder in rank order that is not lost."""
        return next((adder for adder in self.adders if adder not in lost), None)


def height(plan: Plan, stage: int) -> int:
    """1 for a leaf stage, one more than the highest child otherwise."""
    children = plan.stages[stage].children
    return 1 + max((height(plan, child) for child in children), default=0)


def first_generation(plan: Plan, stage: int) -> Assembly:
    """The assembly a plan starts `stage` with."""
    blueprint = plan.stages[stage]
    if blueprint.dealers:
        sources: tuple[Source, ...] = (Source(-1, 0, blueprint.dealers, 0),)
    else:
        sources = tuple(
            Source(child, 0, plan.stages[child].members, plan.stages[child].threshold)
            for child in blueprint.children
        )
    return Assembly(plan, stage, 0, blueprint.seats, sources)


def next_generation(assembly: Assembly, certificate: HandoverCertificate) -> Assembly:
    """The assembly that a certified handover makes of `assembly`. Raises MalformedMessage if masks ran out."""
    source = Source(assembly.stage, assembly.generation, assembly.members, assembly.threshold)
    successor = Assembly(
        assembly.plan, assembly.stage, assembly.generation + 1, certificate.handover.seats, (source,)
    )
    if successor.masks_dealt < 1:
        raise MalformedMessage("the plan has no masks left for another resharing")
    return successor
