"""One committee at work on one sum: a stage of the plan in one generation of its seats.

Generation 0 takes its inputs from the stage's devices or from the committees of its child stages.
Generation g+1 takes the sum of generation g of the same stage: that is how a substitute gets the seat
of a member that left, with the very same machine that carries sums up the tree. If generation g gave way
before it had collected all (see `handover`), g+1 also takes what is not in that sum from where it comes.
Generations from the first that had all on hold one and the same sum: the stage above takes it from any one.

Widths. A device deals L + 2m + 2 elements: payload, m = plan.hops pairs of masks, and the two mask rows
of its own consistency proof. The proof's rows are dropped by each receiver; each resharing consumes the
last pair of masks. A stage may hand over MAX_HANDOVERS times, so what reaches height h (leaves: 1) is
levelled to the number of pairs that is left in the worst case; a dealer drops its surplus:

    dealt(1, 0) = m            held(1, 0)   = m                   (device inputs need no joint check)
    dealt(h, 0) = m - (h-1) MAX_HANDOVERS - (h-2)                 h >= 2
    dealt(h, g) = held(h, g-1)                                    g >= 1
    held(h, g)  = dealt(h, g) - 1                                 unless all inputs are devices'

which stays >= 0 because of `plan.hops_needed`.

Symbols: L payload length, m mask pairs, n seats, t threshold, h height, g generation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import PartyId, Point, SessionId
from protocols.sessions.messages import Certificate, HandoverCertificate, Roster
from protocols.sessions.plan import MAX_HANDOVERS, Plan, Seat, Stage


@dataclass(frozen=True, slots=True)
class Source:
    """One sum that an assembly takes in: `child` -1 is a cluster of devices, else a stage's committee.

    Not `known`: a committee that our excerpt of the plan leaves out; others judge what it says.
    `earlier`: who sat in the generations before this one that hold the same sum, the last one first.
    """

    child: int
    generation: int
    dealers: tuple[PartyId, ...]
    threshold: int
    known: bool = True
    earlier: tuple[tuple[PartyId, ...], ...] = ()

    @property
    def is_devices(self) -> bool:
        """Device inputs are added as they are; a committee's sub-shares are recombined by Lagrange."""
        return self.child < 0

    @property
    def committees(self) -> tuple[tuple[PartyId, ...], ...]:
        """Those that may deal this sum, one or another; the latest generation first."""
        return (self.dealers, *self.earlier)

    @property
    def generations(self) -> range:
        """Of these committees."""
        return range(self.generation - len(self.earlier), self.generation + 1)

    def seated(self, generation: int) -> tuple[PartyId, ...]:
        """Who may deal the sum of this generation: nobody if it has none for us."""
        return self.committees[self.generation - generation] if generation in self.generations else ()

    def seats(self, dealer: PartyId) -> bool:
        """Whether it is a committee member that may deal this sum."""
        return any(dealer in seated for seated in self.committees)

    def point_of(self, dealer: PartyId) -> Point:
        """Point of a committee member whose share is reshared: nobody ever changes its seat."""
        return Point(next(seated.index(dealer) for seated in self.committees if dealer in seated) + 1)


@dataclass(frozen=True)
class Assembly:
    """Seats, adders and sources of one stage in one generation."""

    plan: Plan
    stage: int
    generation: int
    seats: tuple[Seat, ...]
    sources: tuple[Source, ...]
    before: Assembly | None = None
    """The generation whose sum is all that this one takes in: then there is no interim roster here."""

    @property
    def is_refill(self) -> bool:
        """Whether the certified sum was handed over to this generation."""
        return self.before is not None

    @cached_property
    def session(self) -> SessionId:
        """Session of the plan."""
        return self.plan.session

    @cached_property
    def blueprint(self) -> Stage:
        """The stage as the plan has it."""
        return self.plan.stages[self.stage]

    @cached_property
    def threshold(self) -> int:
        """t of the committee."""
        return self.blueprint.threshold

    @cached_property
    def quorum(self) -> int:
        """Ballots of a certificate."""
        return self.blueprint.quorum

    @cached_property
    def adders(self) -> tuple[PartyId, ...]:
        """Sub-aggregators in rank order."""
        return self.blueprint.adders

    @cached_property
    def members(self) -> tuple[PartyId, ...]:
        """Parties in seat order."""
        return tuple(seat.party for seat in self.seats)

    @cached_property
    def is_root(self) -> bool:
        """Only the root opens."""
        return self.stage == self.plan.root

    @cached_property
    def expected(self) -> dict[PartyId, list[Source]]:
        """Who may deal to this assembly, for which sources (a gateway may sit in several committees)."""
        table: dict[PartyId, list[Source]] = {}
        for source in self.sources:
            for committee in source.committees:
                for dealer in committee:
                    table.setdefault(dealer, []).append(source)
        return table

    @cached_property
    def dealings(self) -> int:
        """How many dealings are expected at most."""
        return sum(len(sources) for sources in self.expected.values())

    @cached_property
    def masks_dealt(self) -> int:
        """Mask pairs in a sharing that is dealt to this assembly."""
        level = height(self.plan, self.stage)
        if level == 1:
            return self.plan.hops - max(self.generation - 1, 0)
        return self.plan.hops - (level - 1) * MAX_HANDOVERS - (level - 2) - self.generation

    @cached_property
    def masks_held(self) -> int:
        """Mask pairs in the sum this assembly ends with: a resharing has used up one."""
        return self.masks_dealt - (0 if all(source.is_devices for source in self.sources) else 1)

    @cached_property
    def dealt_width(self) -> int:
        """Elements that a dealer shares: payload, masks, and two rows of the consistency proof."""
        return self.plan.length + 2 * self.masks_dealt + 2

    @property
    def is_spare(self) -> bool:
        """Whether the stage above may take our sum from the generation before as well."""
        return self.is_refill and not self.is_root

    def seat_of(self, party: PartyId) -> int | None:
        """Index of the seat that `party` holds, or None."""
        return self._seat_of.get(party)

    @cached_property
    def _seat_of(self) -> dict[PartyId, int]:
        return {member: seat for seat, member in enumerate(self.members)}

    @cached_property
    def is_divisible(self) -> bool:
        """Whether an interim roster may take some inputs and leave the rest to the next generation."""
        return not self.is_refill and self.plan.codes is None

    @cached_property
    def sources_in(self) -> frozenset[tuple[int, int]]:
        """The generation of this stage that came before, if it has a sum to pass on."""
        own = (source for source in self.sources if source.child == self.stage)
        return frozenset((source.child, source.generation) for source in own)

    def concerns(self, slot: tuple[int, int]) -> bool:
        """Whether a certificate of this stage and generation is our own or a source's."""
        stage, generation = slot
        taken = any(stage == source.child and generation in source.generations for source in self.sources)
        return taken or slot == (self.stage, self.generation)

    def current_adder(self, lost: frozenset[PartyId]) -> PartyId | None:
        """The first adder in rank order that is not lost."""
        if not lost:
            return self.adders[0]
        return next((adder for adder in self.adders if adder not in lost), None)


def height(plan: Plan, stage: int) -> int:
    """1 for a leaf stage, one more than the highest child otherwise."""
    if plan.shape is not None:
        return 1 + plan.shape.level(stage)
    known = plan.derived.get(("height", stage))
    if not isinstance(known, int):
        known = 1 + max((height(plan, child) for child in plan.stages[stage].children), default=0)
        plan.derived["height", stage] = known
    return known


def first_generation(plan: Plan, stage: int) -> Assembly:
    """The assembly a plan starts `stage` with; made once for each plan."""
    known = plan.derived.get(("assembly", stage))
    if not isinstance(known, Assembly):
        known = plan.derived["assembly", stage] = _first(plan, stage)
    return known


def _first(plan: Plan, stage: int) -> Assembly:
    blueprint = plan.stages[stage]
    if blueprint.dealers:
        sources: tuple[Source, ...] = (Source(-1, 0, blueprint.dealers, 0),)
    else:
        sources = tuple(_source(plan, child) for child in blueprint.children)
    return Assembly(plan, stage, 0, blueprint.seats, sources)


def _source(plan: Plan, child: int) -> Source:
    if not plan.knows(child):
        return Source(child, 0, (), 0, known=False)
    return Source(child, 0, plan.stages[child].members, plan.stages[child].threshold)


def next_generation(assembly: Assembly, certificate: HandoverCertificate) -> Assembly:
    """What a certified handover makes of `assembly`. Raises MalformedMessage beyond MAX_HANDOVERS."""
    if assembly.generation >= MAX_HANDOVERS:
        raise MalformedMessage("the plan has no masks left for another handover")
    source = Source(assembly.stage, assembly.generation, assembly.members, assembly.threshold)
    seats, generation = certificate.handover.seats, assembly.generation + 1
    return Assembly(assembly.plan, assembly.stage, generation, seats, (source,), before=assembly)


def after_interim(assembly: Assembly, roster: Roster) -> Assembly:
    """The generation that goes on after an interim roster: its sum, and whoever is not in it yet.

    Of a roster above the leaves a part is enough: its head lists the sources, and each has dealings.
    """
    stage, taken = assembly.stage, {group.child: group for group in roster.groups}
    sources: list[Source] = []
    if any(group.entries for group in roster.groups) or (roster.hidden is not None and roster.children):
        sources.append(Source(stage, assembly.generation, assembly.members, assembly.threshold))
    for source in assembly.sources:
        if source.is_devices:
            counted = {entry.dealer for entry in taken[-1].entries} if -1 in taken else set()
            left = tuple(dealer for dealer in source.dealers if dealer not in counted)
            sources += [replace(source, dealers=left)] if left else []
        elif source.child != stage and source.child not in roster.children:
            sources.append(source)
    return Assembly(assembly.plan, stage, assembly.generation + 1, roster.successors, tuple(sources))


def with_source(assembly: Assembly, child: Assembly) -> Assembly:
    """The same, where the sum of a child stage comes from another generation of it, or one before it."""
    earlier = tuple(one.members for one in same_sum(child)[1:])
    dealt = Source(child.stage, child.generation, child.members, child.threshold, earlier=earlier)
    sources = tuple(dealt if s.child == child.stage else s for s in assembly.sources)
    return assembly if sources == assembly.sources else replace(assembly, sources=sources)


def certifier_of(above: Assembly, latest: Assembly, certificate: Certificate) -> Assembly:
    """Which generation of a source, up to the `latest`, certified the sum that `above` may take in. Raises
    UnexpectedMessage if there is none.
    """
    generation = certificate.roster.generation
    source = next((source for source in above.sources if source.child == latest.stage), None)
    for one in same_sum(latest):
        if source is not None and one.generation == generation and generation in source.generations:
            return one
    raise UnexpectedMessage(f"generation {generation} of stage {latest.stage} deals no sum here")


def same_sum(assembly: Assembly) -> tuple[Assembly, ...]:
    """The generation, and those before it that hold the sum that it was handed; the latest first."""
    chain = [assembly]
    while chain[-1].before is not None:
        chain.append(chain[-1].before)
    return tuple(chain)
