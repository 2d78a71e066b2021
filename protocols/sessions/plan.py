"""The plan of a session: who does what, agreed before anything secret moves.

A plan is a tree of *stages*. A leaf stage ("cluster") is a committee that receives the shares of its
dealers (devices) and adds them. An inner stage is a committee that receives the sums of its child
stages by resharing and adds those. The last stage is the root: it alone opens, and only the total.
Every stage also ranks *adders* (sub-aggregators), untrusted relays of which the first one alive
acts, and *substitutes*, who take the seats of members that leave.

The session's id is the digest of its plan: every message of the session is bound to exactly these
parties, this threshold and this job, and an approval of the plan approves nothing else. A large plan goes
out by role: each party gets the part that concerns it (see `excerpt`), and the id is the digest of a
header that commits to all of it (see `plan_tree`).

Symbols: n seats, t threshold = degree of the sharing polynomials (t+1 shares open), p = 2^61-1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from protocols.errors import LocalMisuse, MalformedMessage
from protocols.identifiers import Digest, PartyId, Point, SessionId
from protocols.sessions.plan_tree import DealerMap, Shape, canonical, tree_nodes
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between, Key, Milliseconds
from protocols.wire.digest import digest

COMMITTEE_SIZES: tuple[tuple[int, int], ...] = ((16, 5), (13, 4), (10, 3), (7, 2), (4, 1), (3, 1))
"""(n, t), largest first. All but (3, 1) have n >= 3t+1: as many liars as the threshold are corrected.
(3, 1) hides the inputs from any one party but corrects no liar."""

MAX_HANDOVERS = 4
"""How often a stage's committee may be refilled during one session; each costs a pair of mask elements."""

VAULTS = "vault:"
"""Data sets that are sums over vaults begin so."""

MAX_STAGES = 1536
"""Who asks for a whole plan gets it in one frame of 4 MB. A stage of 13 seats, 8 substitutes and 8 adders
takes 2 KB, a dealer 34 bytes: room for 1,437 clusters and the stages above them, of some 20,000 devices."""
MAX_DEALERS = 4096
MAX_LENGTH = 8192
MAX_FAN_IN = 64
MAX_CONTRIBUTORS = 16 * MAX_DEALERS


@dataclass(frozen=True, slots=True)
class Seat:
    """One place in a committee; its point is its position plus one."""

    party: PartyId
    sealing_key: Key


@dataclass(frozen=True, slots=True)
class Query:
    """One statistic of one column."""

    statistic: Annotated[str, AtMost(32)]
    column: Annotated[str, AtMost(128)]
    parameters: Annotated[tuple[float, ...], AtMost(1025)]


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be computed and revealed; this, and the parties, is what owners approve."""

    dataset: Annotated[str, AtMost(128)]
    queries: Annotated[tuple[Query, ...], AtMost(64)]
    min_sites: Annotated[int, Between(2, MAX_DEALERS)]
    purpose: Annotated[str, AtMost(256)]
    inputs: Annotated[tuple[Digest, ...], AtMost(4)] = ()
    """Names of public inputs, such as the model of a training round: owners approve exactly these."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One committee of the tree. Either `dealers` or `children` is non-empty."""

    label: Annotated[str, AtMost(64)]
    seats: Annotated[tuple[Seat, ...], AtMost(16)]
    threshold: Annotated[int, Between(1, 5)]
    adders: Annotated[tuple[PartyId, ...], AtMost(8)]
    substitutes: Annotated[tuple[Seat, ...], AtMost(8)]
    dealers: Annotated[tuple[PartyId, ...], AtMost(MAX_DEALERS)]
    children: Annotated[tuple[Annotated[int, Between(0, MAX_STAGES)], ...], AtMost(MAX_STAGES)]

    @property
    def size(self) -> int:
        """n."""
        return len(self.seats)

    @property
    def quorum(self) -> int:
        """Votes that make a certificate: the least q > (n+t)/2, so that two share an honest voter."""
        return (self.size + self.threshold) // 2 + 1

    @property
    def members(self) -> tuple[PartyId, ...]:
        """Parties in seat order."""
        return tuple(seat.party for seat in self.seats)

    def point_of(self, party: PartyId) -> Point:
        """x-coordinate of `party`. Raises ValueError if it holds no seat."""
        return Point(self.members.index(party) + 1)


@dataclass(frozen=True, slots=True)
class Bulk:
    """The session adds long vectors under a mask: `length` values under the named parameter set.

    What is dealt to the committees is then the mask's key, its check and the weight (plan.length elements).
    `to_all`: the masked total goes to every device, not to the initiator alone.
    """

    parameters: Annotated[str, AtMost(64)]
    length: Annotated[int, Between(1, 2**28)]
    to_all: bool


@dataclass(frozen=True, slots=True)
class Code:
    """Dealers that deal their shares of one secret of degree `threshold`, at these points (rising)."""

    dealers: Annotated[tuple[PartyId, ...], AtMost(16)]
    points: Annotated[tuple[Annotated[int, Between(1, 16)], ...], AtMost(16)]
    threshold: Annotated[int, Between(1, 5)]


@dataclass(frozen=True, slots=True)
class Codes:
    """The session adds `width` elements: of the plain dealers, and of secrets that come as shares.

    See `codewords` for what is dealt and opened, and why it tells no more than the sum.
    """

    width: Annotated[int, Between(1, MAX_LENGTH)]
    plain: Annotated[tuple[PartyId, ...], AtMost(MAX_DEALERS)]
    groups: Annotated[tuple[Code, ...], AtMost(16)]

    @property
    def dealers(self) -> tuple[PartyId, ...]:
        """All of them, sorted."""
        return tuple(sorted({*self.plain, *(party for code in self.groups for party in code.dealers)}))

    @property
    def checks(self) -> int:
        """Elements opened beside the total: two for each point that the total does not need."""
        return sum(2 * (len(code.dealers) - code.threshold - 1) for code in self.groups)

    @property
    def length(self) -> int:
        """What the plan's length must be: room for each dealer's blocks, and for total and checks."""
        seats = [*self.plain, *(party for code in self.groups for party in code.dealers)]
        return max(self.width * max(Counter(seats).values(), default=1), self.width + self.checks)


@dataclass(frozen=True, slots=True)
class SortitionProof:
    """ECVRF proof by which `party` earned its rank as an adder."""

    party: PartyId
    proof: Annotated[bytes, AtMost(80)]


@dataclass(frozen=True, slots=True)
class Placed:
    """What a plan says at one place of its tree: the stage, and the proofs of its adders in their order."""

    stage: Stage
    proofs: Annotated[tuple[SortitionProof, ...], AtMost(8)]


@dataclass(frozen=True, slots=True)
class Header:
    """What everybody knows of a plan that goes out by role; its digest is the session's id.

    `tree` commits to all `leaves` leaf stages and the canonical tree over them, `dealer_map` to which of them
    each of the `dealers` belongs to.
    """

    mesh: Digest
    epoch: Annotated[int, Between(0, 2**48)]
    nonce: Annotated[bytes, AtMost(32)]
    initiator: PartyId
    job: Job
    length: Annotated[int, Between(1, MAX_LENGTH)]
    hops: Annotated[int, Between(1, 64)]
    collect_ms: Milliseconds
    total_ms: Milliseconds
    fan_in: Annotated[int, Between(2, MAX_FAN_IN)]
    leaves: Annotated[int, Between(1, MAX_STAGES)]
    dealers: Annotated[int, Between(2, MAX_CONTRIBUTORS)]
    tree: Digest
    dealer_map: Digest

    @property
    def shape(self) -> Shape:
        """The tree's."""
        return Shape(self.leaves, self.fan_in)

    @property
    def session(self) -> SessionId:
        """Digest of the canonical encoding."""
        return SessionId(digest("plan header", codec.encode(self)))


@dataclass(frozen=True)
class Plan:
    """Everything a party must know, and check, before it takes part.

    `fan_in` above 0: the tree is the canonical one, and each party gets an excerpt.
    """

    mesh: Digest
    epoch: Annotated[int, Between(0, 2**48)]
    nonce: Annotated[bytes, AtMost(32)]
    initiator: PartyId
    job: Job
    length: Annotated[int, Between(1, MAX_LENGTH)]
    hops: Annotated[int, Between(1, 64)]
    collect_ms: Milliseconds
    total_ms: Milliseconds
    stages: Annotated[tuple[Stage, ...], AtMost(MAX_STAGES)]
    proofs: Annotated[tuple[SortitionProof, ...], AtMost(8 * MAX_STAGES)]
    bulk: Bulk | None = None
    codes: Codes | None = None
    fan_in: Annotated[int, Between(0, MAX_FAN_IN)] = 0

    @cached_property
    def session(self) -> SessionId:
        """Digest of the canonical encoding: of the plan, or of the header of one that goes out by role."""
        if self.by_role:
            return self.header.session
        return SessionId(digest("plan", codec.encode(self)))

    @cached_property
    def by_role(self) -> bool:
        """Whether each party gets what concerns it; rosters above the leaves then count without naming."""
        return self.fan_in > 0

    @cached_property
    def header(self) -> Header:
        """Of a whole plan by role: what commits to it. Raises MalformedMessage for another tree."""
        shape = canonical([stage.children for stage in self.stages], self.fan_in)
        if not 2 <= len(self.dealers) <= MAX_CONTRIBUTORS:
            raise MalformedMessage(f"a plan by role with {len(self.dealers)} dealers")
        nodes = tree_nodes(shape, [codec.encode(placed) for placed in self.placed])
        return Header(
            self.mesh, self.epoch, self.nonce, self.initiator, self.job, self.length, self.hops,
            self.collect_ms, self.total_ms, self.fan_in, shape.leaves, len(self.dealers), nodes[-1],
            self.dealer_map.root,
        )  # fmt: skip

    @cached_property
    def placed(self) -> tuple[Placed, ...]:
        """Each stage with the proofs of its adders, in the order of the stages."""
        proofs = {entry.party: entry for entry in self.proofs}
        return tuple(
            Placed(stage, tuple(proofs[adder] for adder in stage.adders if adder in proofs))
            for stage in self.stages
        )

    @cached_property
    def dealer_map(self) -> DealerMap:
        """Which leaf each dealer belongs to."""
        return DealerMap((dealer, index) for index, stage in self.known for dealer in stage.dealers)

    @cached_property
    def shape(self) -> Shape | None:
        """The canonical tree of a plan by role."""
        return self.header.shape if self.by_role else None

    @property
    def known(self) -> Iterable[tuple[int, Stage]]:
        """The stages that are known here, with their indices: all, but of an excerpt."""
        return enumerate(self.stages)

    def knows(self, stage: int) -> bool:
        """Whether this stage is known here."""
        return 0 <= stage < len(self.stages)

    @property
    def dealer_count(self) -> int:
        """How many devices are asked to contribute, known here or not."""
        return len(self.dealers)

    @cached_property
    def root(self) -> int:
        """Index of the stage that opens."""
        return len(self.stages) - 1

    @cached_property
    def parties(self) -> tuple[PartyId, ...]:
        """Everybody with a role, sorted, without duplicates; of an excerpt, everybody in it."""
        everybody = {self.initiator}
        for _, stage in self.known:
            everybody.update(stage.members, stage.adders, stage.dealers)
            everybody.update(seat.party for seat in stage.substitutes)
        return tuple(sorted(everybody))

    @cached_property
    def dealers(self) -> tuple[PartyId, ...]:
        """All devices that are asked to contribute, sorted; of an excerpt, those that are known."""
        return tuple(sorted(dealer for _, stage in self.known for dealer in stage.dealers))

    @cached_property
    def dealer_set(self) -> frozenset[PartyId]:
        """The same as a set, for looking up."""
        return frozenset(self.dealers)

    @cached_property
    def derived(self) -> dict[tuple[str, int], object]:
        """What others work out from this plan, kept with it: a plan of 700 clusters is asked all the time."""
        return {}

    def parent_of(self, stage: int) -> int:
        """Index of the stage that takes this one's sum. Raises LocalMisuse for the root."""
        parent = self._parents.get(stage) if self.shape is None else self.shape.parent(stage)
        if parent is None:
            raise LocalMisuse(f"stage {stage} has no parent")
        return parent

    @cached_property
    def _parents(self) -> dict[int, int]:
        return {child: index for index, stage in self.known for child in stage.children}

    @cached_property
    def _clusters(self) -> dict[PartyId, int]:
        return {dealer: index for index, stage in self.known for dealer in stage.dealers}

    @cached_property
    def _posts(self) -> dict[PartyId, tuple[int, ...]]:
        posts: dict[PartyId, tuple[int, ...]] = {}
        for index, stage in self.known:
            for party in {*stage.members, *stage.adders}:
                posts[party] = (*posts.get(party, ()), index)
        return posts

    def stages_of(self, party: PartyId) -> tuple[int, ...]:
        """Stages in which `party` is a member or an adder, in order."""
        return self._posts.get(party, ())

    def cluster_of(self, dealer: PartyId) -> int | None:
        """Index of the stage that `dealer` deals to, or None."""
        return self._clusters.get(dealer)


def hops_needed(depth: int) -> int:
    """Mask pairs that a tree of `depth` stages can use up: one a level and one a handover."""
    return depth * MAX_HANDOVERS + depth - 1
