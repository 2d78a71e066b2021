"""One session of plain statistics, dealt directly: CPU and bytes by role, all parties in this process."""

from __future__ import annotations

import numpy as np

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements, P
from protocols.errors import LocalMisuse
from protocols.sessions import events
from protocols.sessions.party import SessionParty
from protocols.sessions.plan import MAX_LENGTH, Query
from tools.bench.accounts import ROLES, Accounts
from tools.bench.network import Network
from tools.bench.tree import build


def measure(devices: int, length: int, cluster: int | None = None) -> dict[str, object]:
    """Figures of one session of `length` field elements. Raises LocalMisuse if it did not open."""
    if not 1 <= length <= MAX_LENGTH:
        raise LocalMisuse(
            f"a session deals 1 to {MAX_LENGTH} elements", fix="`aggregate` is for long vectors"
        )
    tree = build(devices, length, None, Query("sum", "x", ()), cluster)
    network = Network(tree, Accounts())
    inputs = {party: _vector(index, length) for index, party in enumerate(tree.devices)}
    parties = sorted(set(tree.roles) - set(tree.devices)) + list(tree.devices)
    for index, party in enumerate(parties):
        seed = (index + 1).to_bytes(32, "big")
        network.start(party, SessionParty(tree.plan, tree.keys[party], seed, inputs.get(party)))
    network.settle()
    opened = network.machines[tree.plan.initiator].outcome
    if not isinstance(opened, events.Opened):
        raise LocalMisuse(f"the session did not open: {opened}; {[str(e) for e in network.errors[:3]]}")
    counts = {role: max(1, sum(who == role for who in tree.roles.values())) for role in ROLES}
    books = network.accounts
    return {
        "devices": devices,
        "length": length,
        "mode": "direct",
        "stages": len(tree.plan.stages),
        "exact": bool(np.array_equal(opened.total, field.total(np.stack(list(inputs.values()))))),
        **{f"{role}_cpu_s": books.of(role) / counts[role] for role in ROLES},
        **{f"{role}_bytes": round(books.bytes_of(role) / counts[role]) for role in ROLES},
        "cpu_s_total": books.total(),
        "bytes_total": sum(books.bytes_of(role) for role in ROLES),
    }


def _vector(index: int, length: int) -> Elements:
    return np.random.default_rng(index).integers(0, P, length, dtype=np.uint64)
