"""One big session without faults: what it costs each role in messages, bytes and rounds.

Three levels: devices in clusters, clusters under regions, regions under the root. A cluster's committee
and adder are devices of it, a region's and the root's are devices of clusters below: everybody deals, and
some have other roles besides. `device` are those that have none.

A round is one message after another: the longest chain of messages that ends at the party.

The plan goes out by role. What a role sends and receives itself is told apart from plan and result: the part
of the plan that concerns it, and the result with what shows that it was counted. `growth` sets the figures
beside those of a mesh of an eighth of the clusters, of the same size each; `with_larger_clusters` sets that
mesh with clusters of twice the size beside it:

    device            its own traffic depends on neither. Plan and result: O(log N), for each level of the
                      tree a stage and a roster's head and link, with ceil(log2 fan-in) hashes each
                      (`per_level` has the bytes); besides, the list of its own cluster
    cluster member    grows with its cluster; besides O(log N) as a device, and of each dealer a path
                      of about log2 N hashes, by which it is of one cluster alone
    inner stages      grow with what hangs below one of them: 27 at most. The root has fewer children in the
                      smaller mesh; its figures have their bound where a region's do
    initiator         grows with the mesh: it sends everybody its part of the plan
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from protocols.identifiers import Digest, PartyId
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import PlanOffer, Result
from protocols.sessions.offers import ExcerptOffer
from protocols.sessions.plan import Job, Plan, Query, Seat, Stage, hops_needed
from protocols.sessions.plan_tree import Shape
from protocols.wire import codec
from tools.sim.mesh_plan import keys_of
from tools.sim.scenario import Scenario
from tools.sim.stand_ins import fast_crypto
from tools.sim.world import World

N, T = 4, 1
REGION = 27
COSTS = ("messages_sent", "messages_received", "bytes_sent", "bytes_received", "plan_bytes", "result_bytes")
SMALLER = 8


def big_plan(keys: list[PartyKeys], clusters: int) -> tuple[Plan, dict[PartyId, str]]:
    """The plan, and each party's most costly role; wants at least seven devices in each cluster."""
    roles = {key.party: "device" for key in keys}
    groups = [keys[index::clusters] for index in range(clusters)]

    def stage(label: str, name: str, seats: list[PartyKeys], adder: PartyKeys, **rest: Any) -> Stage:
        roles.update({key.party: f"{name} member" for key in seats})
        roles[adder.party] = f"{name} adder"
        members = tuple(Seat(key.party, key.sealing_key) for key in seats)
        return Stage(label, members, T, (adder.party,), (), rest.get("dealers", ()), rest.get("children", ()))

    stages = [
        stage(f"c{i}", "cluster", g[:N], g[N], dealers=tuple(sorted(k.party for k in g)))
        for i, g in enumerate(groups)
    ]
    shape = Shape(clusters, REGION)
    regions = [shape.children(index) for index in range(clusters, shape.size - 1)]
    for number, region in enumerate(regions):
        chosen = [groups[region[i % len(region)]][N + 1 + i // len(region)] for i in range(N + 1)]
        stages.append(stage(f"r{number}", "region", chosen[:N], chosen[N], children=region))
    spare = [key for group in reversed(groups) for key in group if roles[key.party] == "device"]
    children = shape.children(shape.size - 1)
    stages.append(stage("root", "root", spare[:N], spare[N], children=children))
    job = Job("data", (Query("sum", "x", ()),), 2, "scale")
    hops = hops_needed(shape.depth)
    mesh, initiator = Digest(bytes(32)), spare[N + 1].party
    roles[initiator] = "initiator"
    plan = Plan(mesh, 1, b"scale", initiator, job, 1, hops, 5_000, 60_000, tuple(stages), (), fan_in=REGION)
    return plan, roles


class Metered(World):
    """Counts what each party sends and receives, and the depth of the chain of messages it stands in."""

    def __init__(self, plan: Plan, keys: list[PartyKeys]) -> None:
        self.sent: dict[PartyId, list[int]] = defaultdict(lambda: [0, 0])
        self.received: dict[PartyId, list[int]] = defaultdict(lambda: [0, 0])
        self.offered: dict[PartyId, int] = defaultdict(int)
        self.resulted: dict[PartyId, int] = defaultdict(int)
        self.level = {"plan_bytes": 0, "result_bytes": 0}
        self.depth: dict[PartyId, int] = defaultdict(int)
        self._sizes: dict[int, tuple[object, int]] = {}
        super().__init__(Scenario(1, latency_s=(0.01, 0.01), total_s=60.0, collect_s=5.0), cast=(plan, keys))

    def _size(self, message: Any) -> int:
        known = self._sizes.get(id(message))
        if known is None:
            if len(self._sizes) > 4096:
                self._sizes.clear()
            known = (message, len(codec.encode(message)))
            self._sizes[id(message)] = known
        return known[1]

    def _post(self, sender: PartyId, to: PartyId, message: object) -> None:
        size = self._size(message)
        self.sent[sender][0] += 1
        self.sent[sender][1] += size
        super()._post(sender, to, (self.depth[sender] + 1, message, size))

    def _deliver(self, sender: PartyId, to: PartyId, message: Any) -> None:
        depth, inner, size = message
        self.depth[to] = max(self.depth[to], depth)
        self.received[to][0] += 1
        self.received[to][1] += size
        if isinstance(inner, PlanOffer | ExcerptOffer):
            self.offered[to] += size
        if isinstance(inner, Result):
            self.resulted[to] += size
            if len(inner.below) > 1:  # to a cluster: the first is of the region above
                self._note("result_bytes", inner.below[0])
        if isinstance(inner, ExcerptOffer) and len(inner.excerpt.branches) > 1:
            self._note("plan_bytes", inner.excerpt.branches[-2])
        super()._deliver(sender, to, inner)

    def _note(self, what: str, part: Any) -> None:
        """Of a level below the root; the largest, of a stage with all its children."""
        self.level[what] = max(self.level[what], self._size(part))

    def own_bytes(self, party: PartyId) -> int:
        """Received but for plan and result."""
        return self.received[party][1] - self.offered[party] - self.resulted[party]


def measure(devices: int, clusters: int) -> dict[str, Any]:
    """Simulate one session; per role the mean of messages and bytes, and the most rounds."""
    begun = time.perf_counter()
    keys = [keys_of(index) for index in range(devices)]
    plan, roles = big_plan(keys, clusters)
    made, before = time.perf_counter(), time.process_time()
    with fast_crypto():
        world = Metered(plan, keys)
        world.run()
    ended, used = time.perf_counter(), time.process_time() - before
    per_role = {}
    for role in sorted(set(roles.values())):
        parties = [party for party, name in roles.items() if name == role]
        count = len(parties)
        per_role[role] = {
            "parties": count,
            "messages_sent": round(sum(world.sent[p][0] for p in parties) / count, 1),
            "messages_received": round(sum(world.received[p][0] for p in parties) / count, 1),
            "bytes_sent": round(sum(world.sent[p][1] for p in parties) / count),
            "bytes_received": round(sum(world.own_bytes(p) for p in parties) / count),
            "plan_bytes": round(sum(world.offered[p] for p in parties) / count),
            "result_bytes": round(sum(world.resulted[p] for p in parties) / count),
            "rounds": max(world.depth[p] for p in parties),
        }
    opened = sum(type(machine.outcome).__name__ == "Opened" for machine in world.machines.values())
    return {
        "schema_version": 1,
        "devices": devices,
        "clusters": clusters,
        "opened": opened,
        "violations": world.violations[:3],
        "messages": world.messages,
        "seconds": round(ended - made, 1),
        "cpu_seconds": round(used, 1),
        "seconds_to_make_keys": round(made - begun, 1),
        "per_level": world.level,
        "roles": per_role,
    }


def compared(report: dict[str, Any]) -> dict[str, Any]:
    """The report, beside a smaller mesh of like clusters, and that beside one of larger clusters."""
    devices, clusters = report["devices"], report["clusters"]
    smaller = clusters // SMALLER
    if smaller < 2:
        return report
    base = measure(devices * smaller // clusters, smaller)
    larger = measure(2 * base["devices"], smaller)
    return {**report, "growth": _factors(report, base), "with_larger_clusters": _factors(larger, base)}


def _factors(report: dict[str, Any], base: dict[str, Any]) -> dict[str, dict[str, float]]:
    """By which factor each cost of each role exceeds that of another mesh."""
    return {
        role: {cost: round(row[cost] / max(base["roles"][role][cost], 1), 2) for cost in (*COSTS, "rounds")}
        for role, row in report["roles"].items()
        if role in base["roles"]
    }


def table(report: dict[str, Any]) -> str:
    """For people."""
    lines = [_heading("per party", ("parties", *COSTS, "rounds")), *_rows(report["roles"])]
    titles = {
        "growth": f"times what it is in a mesh of 1/{SMALLER} of the clusters",
        "with_larger_clusters": f"times, in that mesh of 1/{SMALLER}, with clusters of twice the size",
    }
    for name, title in titles.items():
        if name in report:
            lines += ["", title, _heading("", (*COSTS, "rounds")), *_rows(report[name])]
    level = report["per_level"]
    told = f"plan {level['plan_bytes']} bytes, result {level['result_bytes']} bytes"
    return "\n".join([*lines, "", f"a device, for each level that the tree has more: {told}"])


def _heading(corner: str, columns: tuple[str, ...]) -> str:
    return f"{corner:16}" + "".join(f"{name.replace('_', ' '):>18}" for name in columns)


def _rows(rows: dict[str, dict[str, float]]) -> list[str]:
    return [f"{role:16}" + "".join(f"{cell:>18}" for cell in row.values()) for role, row in rows.items()]
