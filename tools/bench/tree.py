"""The tree that a benchmark runs on: devices only deal, each stage has members and adders of its own.

In a real mesh gateways are devices as well. Keeping the roles apart changes none of the work and lets the CPU
of each be told; clusters, committee and fan-in are the planner's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.overlay.planner import PlanLimits
from protocols.identifiers import Digest, PartyId
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Bulk, Job, Plan, Query, Seat, Stage, hops_needed
from protocols.sessions.plan_rules import check

COMMITTEE = (7, 2)
ADDERS = 2


@dataclass(frozen=True, slots=True)
class Tree:
    """A checked plan, the keys of all its parties and the role of each."""

    plan: Plan
    keys: dict[PartyId, PartyKeys]
    roles: dict[PartyId, str]
    devices: tuple[PartyId, ...]


class _Builder:
    def __init__(self) -> None:
        self.keys: dict[PartyId, PartyKeys] = {}
        self.roles: dict[PartyId, str] = {}

    def party(self, role: str) -> PartyKeys:
        seed = (len(self.keys) + 1).to_bytes(4, "big")
        keys = PartyKeys.from_seeds(seed.rjust(32, b"s"), seed.rjust(32, b"e"))
        self.keys[keys.party] = keys
        self.roles[keys.party] = role
        return keys

    def stage(self, label: str, dealers: tuple[PartyId, ...], children: tuple[int, ...]) -> Stage:
        members = [self.party("member") for _ in range(COMMITTEE[0])]
        seats = tuple(Seat(keys.party, keys.sealing_key) for keys in members)
        adders = tuple(self.party("adder").party for _ in range(ADDERS))
        return Stage(label, seats, COMMITTEE[1], adders, (), tuple(sorted(dealers)), children)


def leaf_target(bulk: Bulk | None) -> int:
    """The size of a leaf that the planner aims at."""
    return PlanLimits().sizes_of(bulk).target


def _halved(dealers: Sequence[PartyId], target: int) -> list[tuple[PartyId, ...]]:
    """As the mesh clusters devices of one site: halves until there are fewer than twice the target."""
    if len(dealers) < 2 * target:
        return [tuple(dealers)]
    middle = len(dealers) // 2
    return _halved(dealers[:middle], target) + _halved(dealers[middle:], target)


def build(devices: int, length: int, bulk: Bulk | None, query: Query, cluster: int | None = None) -> Tree:
    """A tree over `devices` devices that deal `length` elements each; `cluster`: how many share a leaf."""
    builder = _Builder()
    fan_in = PlanLimits().fan_in
    dealers = [builder.party("device").party for _ in range(devices)]
    leaves = _halved(dealers, cluster or leaf_target(bulk))
    stages = [builder.stage(f"site/{i}", leaf, ()) for i, leaf in enumerate(leaves)]
    first, depth = 0, 1
    while len(stages) - first > 1:
        level = range(first, len(stages))
        groups = [tuple(level[i : i + fan_in]) for i in range(0, len(level), fan_in)]
        first, depth = len(stages), depth + 1
        stages += [builder.stage(f"level-{depth}/{i}", (), group) for i, group in enumerate(groups)]
    plan = Plan(
        mesh=Digest(bytes(32)),
        epoch=1,
        nonce=b"benchmark",
        initiator=builder.party("initiator").party,
        job=Job("benchmark", (query,), 2, "benchmark"),
        length=length,
        hops=hops_needed(depth),
        collect_ms=10_000,
        total_ms=60_000,
        stages=tuple(stages),
        proofs=(),
        bulk=bulk,
    )
    check(plan)
    return Tree(plan, builder.keys, builder.roles, tuple(dealers))
