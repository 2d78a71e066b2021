"""What one party must know of a large plan, and why that is enough.

In a plan of 10,000 devices a party gets the header and a few *branches*, each a stage with the proofs of
its adders and a path of hashes to the stage above, so that they hang together up to the root (`plan_tree`
says how the session's id commits to them):

    dealer             its leaf and every stage above, O(log) of them
    adder              the same from its own stage up, and the children of that
    member, substitute as an adder; of a leaf also the proof of each of its dealers' places in the map

What the id binds. Two excerpts of one session agree wherever they overlap: the header is the id's, it holds
the root's node, a node fixes its stage and the hash tree of the nodes below, and in that tree, whose size
the header fixes, a place holds one node. A plan and an excerpt of it have one id. So an approval is of one
plan, as if it had been seen whole. A branch says nothing of its siblings but hashes, and needs not: who
must judge them gets them as branches.

What a party checks itself: job, threshold, least number of sites, length, time, number of dealers; on its
path up to the root, every committee, by sortition, and every adder's proof; in its own leaf, who deals with
it. On that path its values are protected: t members of one of these committees learn nothing.

What it does not see, and who does:

  - The committees of other leaves, which might be an initiator's own parties who invent contributors until
    `min_sites` seems reached. Members of a stage check the committees of its children by sortition, and do
    not take part unless they may: so no sum counts whose committee was not drawn. By induction from the root,
    which everybody checks: where all drawn committees have at most t dishonest members, all counted sums
    are of honest committees, and of no others.
  - That nobody is a dealer of two leaves, which would count it twice. The map gives each dealer one leaf,
    and members of a leaf check the place of each of theirs.
  - The list of contributors, and other groups of a roster than the one that leads to its leaf. A roster
    above the leaves says how many there are, the sum over the certified rosters below, whose digests it
    names: a quorum of its stage checked that group by group. So the ballots under the root's digest fix
    each contributor and their number, which stands in the head that every device sees: it checks
    `min_sites` against it, as each root member did. Who was counted finds itself under that digest by the
    rosters between (see `counting`); a root that hides a group from it names it all the same, or has not
    counted it.
  - The other dealers. Whoever wants to see them asks the initiator for the whole plan, once; what an owner's
    consent makes of a set of sites that it did not see is decided in mesh/data/overlap.

What grows with the mesh is the height of the tree alone: a dealer gets for each level one stage and
ceil(log2 fan-in) hashes, for each level of the result one roster's head and link and as many (measured:
tools/sim scale).

Invariant: what `read` returns for two excerpts of one session id never differs at one index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, SupportsIndex, overload

from protocols.errors import LocalMisuse, MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.sessions import merkle, plan_tree
from protocols.sessions.plan import (
    MAX_DEALERS,
    MAX_FAN_IN,
    MAX_STAGES,
    Header,
    Placed,
    Plan,
    SortitionProof,
    Stage,
    hops_needed,
)
from protocols.sessions.plan_rules import check_committee
from protocols.sessions.plan_tree import MAX_TRIE_DEPTH, Shape
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between

MAX_BRANCHES = 1 + 2 * MAX_FAN_IN + 16
"""A party of several posts has several paths; one of more than a few is told the whole plan."""

Steps = Annotated[tuple[Digest, ...], AtMost(MAX_TRIE_DEPTH)]


@dataclass(frozen=True, slots=True)
class Branch:
    """One stage of the tree: `below` it a hash tree of its children, `steps` its own path in its parent's."""

    index: Annotated[int, Between(0, MAX_STAGES)]
    placed: Placed
    below: Digest
    steps: Annotated[tuple[Digest, ...], AtMost(8)]

    @property
    def node(self) -> Digest:
        """What the stage above names it by."""
        return plan_tree.node(self.index, codec.encode(self.placed), self.below)


@dataclass(frozen=True, slots=True)
class Place:
    """That a dealer is one of the leaf stage `leaf`, by its way through the map."""

    leaf: Annotated[int, Between(0, MAX_STAGES)]
    dealer: PartyId
    steps: Steps


@dataclass(frozen=True)
class Excerpt:
    """The part of a plan that concerns some party, in the order of the stages."""

    header: Header
    branches: Annotated[tuple[Branch, ...], AtMost(MAX_BRANCHES)]
    places: Annotated[tuple[Place, ...], AtMost(MAX_DEALERS)]

    @cached_property
    def plan(self) -> PartialPlan:
        """What it shows, once every part is shown to belong to the header. Raises MalformedMessage."""
        return _joined(self)


class KnownStages(tuple[Stage, ...]):
    """The stages of a plan of which some are not known: to ask for one of these is an error."""

    __slots__ = ()

    @overload
    def __getitem__(self, index: SupportsIndex) -> Stage: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Stage, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Stage | tuple[Stage, ...]:
        if isinstance(index, slice):
            raise LocalMisuse("an excerpt of a plan has no run of stages")
        stage = super().__getitem__(index)
        if stage is _UNKNOWN:
            raise UnexpectedMessage(f"stage {index.__index__()} is not in our excerpt of the plan")
        return stage

    def __iter__(self) -> Iterator[Stage]:
        raise LocalMisuse("an excerpt of a plan does not have all stages: see Plan.known")


_UNKNOWN = Stage("", (), 1, (), (), (), ())


@dataclass(frozen=True)
class PartialPlan(Plan):
    """A plan by role as one party knows it; only `read` makes one."""

    excerpt: Excerpt | None = None

    @cached_property
    def header(self) -> Header:
        """As received, and checked by `read`."""
        assert self.excerpt is not None
        return self.excerpt.header

    @cached_property
    def session(self) -> SessionId:
        """Digest of the header."""
        return self.header.session

    @cached_property
    def indices(self) -> tuple[int, ...]:
        """Of the stages that are known."""
        assert self.excerpt is not None
        return tuple(branch.index for branch in self.excerpt.branches)

    @property
    def known(self) -> Iterator[tuple[int, Stage]]:
        """The stages of the excerpt."""
        return ((index, self.stages[index]) for index in self.indices)

    def knows(self, stage: int) -> bool:
        """Whether the excerpt has this stage."""
        return stage in self.indices

    @property
    def dealer_count(self) -> int:
        """As the header says."""
        return self.header.dealers


@dataclass(frozen=True, slots=True)
class KnownPlan:
    """A plan as one party stores it: whole, or the excerpt it has."""

    plan: Plan | None
    excerpt: Excerpt | None

    @staticmethod
    def of(plan: Plan) -> KnownPlan:
        """To be stored."""
        part = plan.excerpt if isinstance(plan, PartialPlan) else None
        return KnownPlan(plan if part is None else None, part)

    def read(self, me: PartyId) -> Plan:
        """What was stored. Raises MalformedMessage."""
        if self.excerpt is not None:
            return read(self.excerpt, me)
        if self.plan is None:
            raise MalformedMessage("a session without a plan")
        return self.plan


def stored_plan(plan: Plan) -> bytes:
    """A KnownPlan as bytes; encoded once for each plan."""
    found = plan.derived.get(("known", 0))
    if not isinstance(found, bytes):
        found = plan.derived["known", 0] = codec.encode(KnownPlan.of(plan))
    return found


class Excerpts:
    """Makes the excerpts of one whole plan; parties with the same posts get the very same one."""

    def __init__(self, plan: Plan) -> None:
        """`plan` goes out by role and is whole."""
        self.plan = plan
        self._shape = plan.header.shape
        self._nodes = plan_tree.tree_nodes(self._shape, [codec.encode(placed) for placed in plan.placed])
        self._branches: dict[int, Branch] = {}
        self._made: dict[tuple[frozenset[int], frozenset[int], int | None], Excerpt | None] = {}
        self._adders: dict[PartyId, set[int]] = {}
        self._seats: dict[PartyId, set[int]] = {}
        for index, stage in plan.known:
            for adder in stage.adders:
                self._adders.setdefault(adder, set()).add(index)
            for seat in (*stage.seats, *stage.substitutes):
                self._seats.setdefault(seat.party, set()).add(index)

    def of(self, party: PartyId) -> Excerpt | None:
        """What `party` must know; None if it has so many posts that the whole plan is the better answer.

        Raises LocalMisuse for who has no role in the plan.
        """
        adds, sits = frozenset(self._adders.get(party, ())), frozenset(self._seats.get(party, ()))
        leaf = self.plan.cluster_of(party)
        if not adds and not sits and leaf is None:
            raise LocalMisuse(f"{party.short()} has no role in the plan")
        key = (adds, sits, leaf)
        if key not in self._made:
            self._made[key] = self._make(adds | sits, sits, leaf)
        return self._made[key]

    def _make(self, posts: frozenset[int], sits: frozenset[int], leaf: int | None) -> Excerpt | None:
        wanted = set(posts) | ({leaf} if leaf is not None else set())
        inner = set(_upward(self._shape, wanted))
        wanted |= inner.union(*(self._shape.children(post) for post in posts))
        places = [
            Place(seat, dealer, self.plan.dealer_map.proof(dealer))
            for seat in sorted(sits)
            for dealer in self.plan.stages[seat].dealers
        ]
        if len(wanted) > MAX_BRANCHES or len(places) > MAX_DEALERS:
            return None
        branches = tuple(self._branch(index) for index in sorted(wanted))
        return Excerpt(self.plan.header, branches, tuple(places))

    def _branch(self, index: int) -> Branch:
        if index not in self._branches:
            parent = self._shape.parent(index)
            siblings = (index,) if parent is None else self._shape.children(parent)
            steps = merkle.path([self._nodes[sibling] for sibling in siblings], index - siblings[0])
            below = merkle.root([self._nodes[child] for child in self._shape.children(index)])
            self._branches[index] = Branch(index, self.plan.placed[index], below, steps)
        return self._branches[index]


def read(excerpt: Excerpt, me: PartyId) -> PartialPlan:
    """The plan as `me` may know it.

    Whether its parties are the right ones is judged by mesh/overlay/plan_check, as of a whole plan. Raises
    MalformedMessage: a branch or a place is forged, missing, or on the wrong place; or it is not for us.
    """
    _check_own(excerpt.plan, me)
    return excerpt.plan


def _joined(excerpt: Excerpt) -> PartialPlan:
    header = excerpt.header
    shape = header.shape
    if shape.size > MAX_STAGES or header.hops < hops_needed(shape.depth):
        raise MalformedMessage(f"a plan of {shape.size} stages with {header.hops} mask pairs")
    if header.job.min_sites > header.dealers:
        raise MalformedMessage(f"plan asks for {header.job.min_sites} sites but has {header.dealers}")
    branches = {branch.index: branch for branch in excerpt.branches}
    if list(branches) != sorted(branches) or len(branches) != len(excerpt.branches):
        raise MalformedMessage("branches of an excerpt are unsorted or repeated")
    stages = [_UNKNOWN] * shape.size
    for branch in excerpt.branches:
        _check_branch(header, shape, branches, branch)
        stages[branch.index] = branch.placed.stage
    proofs = {entry.party: entry for branch in excerpt.branches for entry in branch.placed.proofs}
    return _assemble(excerpt, tuple(stages), tuple(proofs[party] for party in sorted(proofs)))


def _assemble(excerpt: Excerpt, stages: tuple[Stage, ...], proofs: tuple[SortitionProof, ...]) -> PartialPlan:
    header = excerpt.header
    return PartialPlan(
        header.mesh, header.epoch, header.nonce, header.initiator, header.job, header.length, header.hops,
        header.collect_ms, header.total_ms, KnownStages(stages), proofs, None, None, header.fan_in, excerpt,
    )  # fmt: skip


def _check_branch(header: Header, shape: Shape, branches: dict[int, Branch], branch: Branch) -> None:
    parent, stage = shape.parent(branch.index), branch.placed.stage
    if parent is not None and parent not in branches:
        raise MalformedMessage(f"stage {branch.index} does not hang together with the root")
    named = header.tree if parent is None else branches[parent].below
    plan_tree.check_child(shape, branch.index, branch.node, branch.steps, named)
    children = shape.children(branch.index)
    if stage.children != children:
        raise MalformedMessage(f"stage {branch.index} is not where the canonical tree has it")
    check_committee(branch.index, stage)
    if len(set(stage.dealers)) != len(stage.dealers) or (not children and branch.below != plan_tree.NOTHING):
        raise MalformedMessage(f"stage {branch.index} has a dealer twice, or something below its dealers")
    if [entry.party for entry in branch.placed.proofs] != [
        adder for adder in stage.adders if adder in {entry.party for entry in branch.placed.proofs}
    ]:
        raise MalformedMessage(f"stage {branch.index} has proofs of others than its adders")


def _check_own(plan: PartialPlan, me: PartyId) -> None:
    """That we have a role, and see what it takes to fill it."""
    excerpt, roles = plan.excerpt, False
    assert excerpt is not None
    shape = excerpt.header.shape
    places = {(place.leaf, place.dealer): place for place in excerpt.places}
    for index, stage in plan.known:
        sits = me in stage.members or any(seat.party == me for seat in stage.substitutes)
        roles = roles or sits or me in stage.adders or me in stage.dealers
        if not sits and me not in stage.adders:
            continue
        if not all(plan.knows(child) for child in shape.children(index)):
            raise MalformedMessage(f"the excerpt leaves out committees below stage {index}, where we serve")
        for dealer in stage.dealers if sits else ():
            place = places.get((index, dealer))
            if place is None:
                raise MalformedMessage(f"the place of {dealer.short()} in stage {index} is not proved")
            plan_tree.check_place(excerpt.header.dealer_map, dealer, index, place.steps)
    if not roles:
        raise MalformedMessage("this excerpt of a plan is for another party")


def _upward(shape: Shape, stages: set[int]) -> Iterator[int]:
    for stage in stages:
        above: int | None = stage
        while above is not None:
            yield above
            above = shape.parent(above)
