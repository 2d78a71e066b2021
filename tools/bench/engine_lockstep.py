"""All members of a committee in one process, one layer at a time, without a network.

For tests, benchmarks and `explain`'s check: counts rounds and bytes exactly and times every member.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protocols.arithmetic import rns
from protocols.arithmetic.xof import Xof
from protocols.engine.committee import Committee, Seat, lagrange, whole
from protocols.engine.evaluator import Evaluator
from protocols.engine.opening import added
from protocols.engine.program import Program
from protocols.sharing.prss import deal_keys, elements


@dataclass
class Run:
    """What a run did: each member's outputs, rounds, payload bytes and CPU seconds a member."""

    outputs: dict[int, tuple[Any, ...]]
    rounds: int = 0
    sent_bytes: dict[int, int] = field(default_factory=dict)
    cpu_s: dict[int, float] = field(default_factory=dict)
    transcript: list[dict[int, Any]] = field(default_factory=list)


def seats(committee: Committee, seed: bytes = bytes(32), session: bytes = b"test") -> list[Seat]:
    """A seat for every member of the quorum, keys from one seed."""
    keys = deal_keys(committee.n, committee.t, seed)
    return [Seat(committee, keys[i - 1], bytes([i]) + seed[1:], session) for i in committee.quorum]


def deal(values: rns.Residues, committee: Committee, seed: bytes = b"d" * 32) -> dict[int, rns.Residues]:
    """Shamir shares of (2, *shape) for every member of the quorum."""
    flat = values.reshape(2, -1)
    xof = Xof(seed, "lockstep/deal")
    rows = [elements(xof, flat.shape[1]) for _ in range(committee.t)]
    shares = {}
    for point in committee.quorum:
        share = flat
        for power, row in enumerate(rows, start=1):
            share = rns.add(share, rns.scale(row, point**power))
        shares[point] = share.reshape(values.shape)
    return shares


def reconstruct(shares: dict[int, rns.Residues], t: int) -> rns.Residues:
    """The value from the last t+1 shares, after checking that all of them lie on one polynomial."""
    points = sorted(shares)

    def opened(chosen: Sequence[int]) -> rns.Residues:
        parts = {p: rns.scale(shares[p].reshape(2, -1), lagrange(tuple(chosen), p)).ravel() for p in chosen}
        return added(parts, slice(None)).reshape(shares[chosen[0]].shape)

    value = opened(points[-t - 1 :])
    if not np.array_equal(value, opened(points[: t + 1])):
        raise AssertionError("shares do not lie on a polynomial of degree t")
    return value


def run(
    program: Program, members: Sequence[Seat], inputs: dict[int, dict[int, Any]], *, record: bool = False
) -> Run:
    """Evaluate to the end; inputs[register][point] are the members' values."""
    spent = dict.fromkeys((seat.point for seat in members), 0.0)

    def timed(point: int, work: Any) -> Any:
        start = time.process_time()
        result = work()
        spent[point] += time.process_time() - start
        return result

    parties = {
        seat.point: timed(
            seat.point,
            lambda seat=seat: Evaluator(seat, program, {r: v[seat.point] for r, v in inputs.items()}),
        )
        for seat in members
    }
    result = Run({}, sent_bytes=dict.fromkeys(spent, 0), cpu_s=spent)
    n = members[0].committee.n
    while not all(party.finished for party in parties.values()):
        sent = {point: party.outgoing for point, party in parties.items()}
        for point, message in sent.items():
            result.sent_bytes[point] += message.nbytes * (n - 1)
        if record:
            result.transcript.append(sent)
        for point, party in parties.items():
            others = {p: m for p, m in sent.items() if p != point}
            timed(point, lambda party=party, others=others: party.receive(others))
        result.rounds += 1
    result.outputs = {point: party.outputs for point, party in parties.items()}
    return result


def committee_of(n: int, t: int) -> Committee:
    """Everybody of (n, t)."""
    return whole(n, t)
