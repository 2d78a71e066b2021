"""All members of a committee in one process, one layer at a time, without a network.

For tests, benchmarks and `explain`'s check: counts rounds and bytes exactly and times every member.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.arithmetic import rns
from protocols.arithmetic.xof import Xof
from protocols.engine import boundary
from protocols.engine.committee import Committee, Seat
from protocols.engine.evaluator import Evaluator
from protocols.engine.program import Program
from protocols.sharing.prss import deal_keys


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
    """Shamir shares of (2, *shape) for every member."""
    shares = boundary.deal(values, committee.n, committee.t, Xof(seed, "lockstep/deal"))
    return {point: shares[point - 1] for point in range(1, committee.n + 1)}


def reconstruct(shares: dict[int, rns.Residues], t: int) -> rns.Residues:
    """The value, after checking that all shares lie on one polynomial."""
    return boundary.reconstruct(shares, t)


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
