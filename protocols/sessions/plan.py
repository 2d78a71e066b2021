"""The plan of a session: who does what, agreed before anything secret moves.

A plan is a tree of *stages*. A leaf stage ("cluster") is a committee that receives the shares of its
dealers (devices) and adds them. An inner stage is a committee that receives the sums of its child
stages by resharing and adds those. The last stage is the root: it alone opens, and only the total.
Every stage also ranks *adders* (sub-aggregators), untrusted relays of which the first one alive
acts, and *substitutes*, who take the seats of members that leave.

The session's id is the digest of its plan: every message of the session is bound to exactly these
parties, this threshold and this job, and an approval of the plan approves nothing else.

Symbols: n seats, t threshold = degree of the sharing polynomials (t+1 shares open), p = 2^61-1.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from protocols.errors import LocalMisuse, MalformedMessage
from protocols.identifiers import Digest, PartyId, Point, SessionId
from protocols.masking.parameters import TABLE
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

MAX_STAGES = 1024
MAX_DEALERS = 4096
MAX_LENGTH = 8192


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


@dataclass(frozen=True)
class Plan:
    """Everything a party must know, and check, before it takes part."""

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

    @cached_property
    def session(self) -> SessionId:
        """Digest of the canonical encoding."""
        return SessionId(digest("plan", codec.encode(self)))

    @property
    def root(self) -> int:
        """Index of the stage that opens."""
        return len(self.stages) - 1

    @cached_property
    def parties(self) -> tuple[PartyId, ...]:
        """Everybody with a role, sorted, without duplicates."""
        everybody = {self.initiator}
        for stage in self.stages:
            everybody.update(stage.members, stage.adders, stage.dealers)
            everybody.update(seat.party for seat in stage.substitutes)
        return tuple(sorted(everybody))

    @cached_property
    def dealers(self) -> tuple[PartyId, ...]:
        """All devices that are asked to contribute, sorted."""
        return tuple(sorted(dealer for stage in self.stages for dealer in stage.dealers))

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
        parent = self._parents.get(stage)
        if parent is None:
            raise LocalMisuse(f"stage {stage} has no parent")
        return parent

    @cached_property
    def _parents(self) -> dict[int, int]:
        return {child: index for index, stage in enumerate(self.stages) for child in stage.children}

    @cached_property
    def _clusters(self) -> dict[PartyId, int]:
        return {dealer: index for index, stage in enumerate(self.stages) for dealer in stage.dealers}

    @cached_property
    def _posts(self) -> dict[PartyId, tuple[int, ...]]:
        posts: dict[PartyId, tuple[int, ...]] = {}
        for index, stage in enumerate(self.stages):
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


def check(plan: Plan) -> None:
    """Refuse a plan that is not a well-formed tree of legal committees, whoever signed it.

    Whether its parties are the right ones is judged against the membership view, in mesh/overlay/planner.
    Raises MalformedMessage naming the first defect.
    """
    if not plan.stages:
        raise MalformedMessage("plan has no stage")
    depth = _check_tree(plan)
    if plan.hops < hops_needed(depth):
        raise MalformedMessage(
            f"plan has {plan.hops} mask pairs, a tree of depth {depth} needs {hops_needed(depth)}"
        )
    dealers = [dealer for stage in plan.stages for dealer in stage.dealers]
    if len(set(dealers)) != len(dealers):
        raise MalformedMessage("a dealer appears twice in the plan")
    if plan.job.min_sites > len(dealers):
        raise MalformedMessage(f"plan asks for {plan.job.min_sites} sites but lists {len(dealers)}")
    for index, stage in enumerate(plan.stages):
        _check_committee(index, stage)
    if plan.bulk is not None:
        _check_bulk(plan, plan.bulk, len(dealers))
    if plan.codes is not None:
        _check_codes(plan, plan.codes)


def _check_codes(plan: Plan, codes: Codes) -> None:
    """One committee, which weighs: so all its dealers count or none, and nobody's own rows are weighed."""
    if len(plan.stages) != 1 or plan.bulk is not None or not plan.job.dataset.startswith(VAULTS):
        raise MalformedMessage("shares are added up by one committee, in sums over vaults only")
    if plan.dealers != codes.dealers or plan.job.min_sites != len(codes.dealers):
        raise MalformedMessage("a sum of shares is opened over all its dealers or not at all")
    if plan.length != codes.length:
        raise MalformedMessage(f"{plan.length} elements where shares and checks take {codes.length}")
    if codes.plain != tuple(sorted(set(codes.plain))) or not codes.groups:
        raise MalformedMessage("plain dealers are repeated or out of order, or there are no shares")
    for code in codes.groups:
        if len(set(code.dealers)) != len(code.dealers) or len(code.points) != len(code.dealers):
            raise MalformedMessage("a share has not one dealer and one point")
        if code.points != tuple(sorted(set(code.points))) or len(code.points) <= 2 * code.threshold:
            raise MalformedMessage("points of shares do not rise, or are too few to check them")


def _check_bulk(plan: Plan, bulk: Bulk, devices: int) -> None:
    parameters = next((row for row in TABLE if row.name == bulk.parameters), None)
    if parameters is None:
        raise MalformedMessage(f"there is no mask called {bulk.parameters!r}")
    if plan.length != parameters.dealt_length:
        raise MalformedMessage(
            f"{plan.length} elements are dealt where the mask has {parameters.dealt_length}"
        )
    if devices > parameters.devices:
        raise MalformedMessage(f"{devices} devices are more than the mask holds ({parameters.devices})")


def _check_committee(index: int, stage: Stage) -> None:
    if (stage.size, stage.threshold) not in COMMITTEE_SIZES:
        raise MalformedMessage(f"stage {index}: ({stage.size}, {stage.threshold}) is not a legal committee")
    if len(set(stage.members)) != stage.size:
        raise MalformedMessage(f"stage {index}: a party holds two seats")
    if {seat.party for seat in stage.substitutes} & set(stage.members):
        raise MalformedMessage(f"stage {index}: a member is its own substitute")
    if not stage.adders or len(set(stage.adders)) != len(stage.adders):
        raise MalformedMessage(f"stage {index}: adders missing or repeated")
    if bool(stage.dealers) == bool(stage.children):
        raise MalformedMessage(f"stage {index}: wants either dealers or children")


def _check_tree(plan: Plan) -> int:
    """Return the depth (stages on the longest path). Children come before their one parent."""
    depth = [0] * len(plan.stages)
    adopted: set[int] = set()
    for index, stage in enumerate(plan.stages):
        for child in stage.children:
            if child >= index or child in adopted:
                raise MalformedMessage(f"stage {index}: child {child} is out of order or has two parents")
            adopted.add(child)
        depth[index] = 1 + max((depth[child] for child in stage.children), default=0)
    if len(adopted) != len(plan.stages) - 1:
        raise MalformedMessage("plan is not one tree")
    return depth[plan.root]
