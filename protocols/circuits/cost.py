"""What a program costs before anything runs: rounds, bytes, memory, seconds on given links.

Rounds and payload bytes are counts over the program's steps, hence exact. Preprocessing is the part of
them that depends on no input: random bits and prepared products; it runs in rounds that are spent anyway,
so it is a share of the bytes, not a phase. Memory is the largest sum of
live registers over all layers plus the messages of the layer; it follows the arrays' shapes. Seconds are
rounds * RTT + the busiest member's bytes / bandwidth + computing, the last from the rates below.

Symbols: n members, RTT round-trip time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from protocols.circuits.lower import Lowered
from protocols.engine import bitshares
from protocols.engine.assembler import count_of
from protocols.engine.binary import Gate, words_for
from protocols.engine.committee import Committee
from protocols.engine.compare import OpenSign, SetTerms, Terms
from protocols.engine.dealtbit import Dealt, Joined
from protocols.engine.lookahead import Lookahead
from protocols.engine.multiply import Opened, Reveal
from protocols.engine.numbers import Number
from protocols.engine.program import Program, Round, Step
from protocols.engine.randombit import Signs, Spread
from protocols.errors import LocalMisuse

ROUND_OVERHEAD_S = 0.0004
"""Python work a step, whatever its size: measured 0.2-0.5 ms."""

SECONDS_AN_ELEMENT = {
    Opened: 400e-9,
    Reveal: 120e-9,
    Terms: 350e-9,
    SetTerms: 1200e-9,
    Signs: 900e-9,
    Spread: 250e-9,
    Dealt: 150e-9,
    Joined: 200e-9,
    OpenSign: 5e-9,
}
"""Computing of one member at (3, 1), where it holds two key sets, measured."""

SET_SHARE = 0.35
"""What a further pair of key sets adds to it: 1.7 times at (5, 2), 3.3 times at (7, 2), measured 1.5-3.1."""

PIECE_WORD_S = 30e-9
"""Drawing a mask word of a piece, or hashing a word of one, in mode A; measured."""


@dataclass(frozen=True)
class Link:
    """What a member's connection gives."""

    rtt_s: float
    bytes_per_s: float

    def __str__(self) -> str:
        return f"RTT {self.rtt_s * 1000:g} ms, {self.bytes_per_s * 8 / 1e6:g} Mbit/s"


MODE_WORDS = {
    "P": "members follow the protocol; up to t of them learn nothing",
    "A": "up to t members may do anything; a lie stops the run before any output is opened",
}

LAN = Link(0.0005, 125e6)
WAN = Link(0.020, 50e6 / 8)
LINKS: Mapping[str, Link] = {"a LAN": LAN, "a WAN": WAN}


@dataclass(frozen=True)
class Cost:
    """Cost of one run for one committee."""

    rounds: int
    sent_bytes: dict[int, int]
    steps: int
    comparisons: int
    products: int
    memory_bytes: int
    computing_s: float
    mode: str = "P"
    random_bits: int = 0
    preprocessing_bytes: int = 0
    working_set_bytes: int = 0

    @property
    def busiest_bytes(self) -> int:
        """Of the member that sends most."""
        return max(self.sent_bytes.values(), default=0)

    def seconds(self, link: Link) -> float:
        """Wall clock on equal links for all members."""
        return self.rounds * link.rtt_s + self.busiest_bytes / link.bytes_per_s + self.computing_s

    def explain(self, links: Mapping[str, Link] = LINKS) -> str:
        """A few lines for people, with the seconds on each of the links."""
        return "\n".join(
            (
                f"security     mode {self.mode}: {MODE_WORDS[self.mode]}",
                f"rounds       {self.rounds}",
                f"bytes        {self.busiest_bytes:,} from the busiest member",
                f"opened       {self.products:,} products and truncations, {self.comparisons:,} comparisons",
                f"beforehand   {self.preprocessing_bytes:,} of these bytes, {self.random_bits:,} random bits",
                f"memory       {self.memory_bytes / 2**20:,.1f} MiB a member",
                f"computing    {self.computing_s:.3f} s a member",
                *(f"on {name:11s}{self.seconds(link):.3f} s ({link})" for name, link in links.items()),
            )
        )


def cost(lowered: Lowered, committee: Committee) -> Cost:
    """Cost of a lowered program."""
    program = lowered.program
    sizes = [_elements(step) for step in program.steps]
    early = _without_inputs(program)
    live, peak = memory(program, committee, lowered.inputs.values())
    return Cost(
        rounds=program.rounds,
        sent_bytes={point: program.sent_bytes(committee, point) for point in committee.quorum},
        steps=len(program.steps),
        comparisons=sum(s.count for s in program.steps if isinstance(s, OpenSign)),
        products=sum(size for s, size in zip(program.steps, sizes, strict=True) if isinstance(s, Opened)),
        memory_bytes=peak,
        working_set_bytes=live,
        computing_s=sum(_seconds(s, size, committee) for s, size in zip(program.steps, sizes, strict=True)),
        mode=committee.mode,
        random_bits=sum(s.count for s in program.steps if isinstance(s, Spread | Joined)),
        preprocessing_bytes=max(_early_bytes(program, committee, early, p) for p in committee.quorum),
    )


def _without_inputs(program: Program) -> list[int]:
    """Round steps that depend on no input of the program."""
    bound, early = set(program.inputs), []
    for number, step in enumerate(program.steps):
        if bound & set(step.inputs):
            bound |= set(step.outputs)
        elif isinstance(step, Round):
            early.append(number)
    return early


def _early_bytes(program: Program, committee: Committee, early: list[int], point: int) -> int:
    steps = [(number, program.steps[number]) for number in early]
    sent = sum(step.words(committee, number, point) for number, step in steps if isinstance(step, Round))
    return 8 * sent * (committee.n - 1)


def within_limits(found: Cost, *, rounds: int, sent_bytes: int, memory_bytes: int) -> None:
    """Refuse a program beyond a plan's limits. Raises LocalMisuse naming the first one exceeded."""
    pairs = (
        ("rounds", found.rounds, rounds),
        ("bytes of one member", found.busiest_bytes, sent_bytes),
        ("bytes of memory", found.memory_bytes, memory_bytes),
    )
    for name, needed, limit in pairs:
        if needed > limit:
            raise LocalMisuse(
                f"the program needs {needed:,} {name}, the plan allows {limit:,}",
                fix="ask for less at once or for a plan with a higher limit",
            )


def _elements(step: Step) -> int:
    shape = getattr(step, "shape", None)
    if shape is not None:
        return count_of(shape)
    indices = getattr(step, "indices", None)
    return int(indices.size) if indices is not None else int(getattr(step, "count", 0))


def _seconds(step: Step, size: int, committee: Committee) -> float:
    rate = SECONDS_AN_ELEMENT.get(type(step), 0.0)
    held = len(committee.sets.sets) * (committee.n - committee.t) / committee.n
    seconds = ROUND_OVERHEAD_S * isinstance(step, Round) + rate * size * (1 + SET_SHARE * (held / 2 - 1))
    if committee.checked and isinstance(step, Gate):
        n, t = len(committee.quorum), committee.t
        pieces, draws = math.comb(n, 2 * t), held * math.comb(n - t, n - 2 * t)
        seconds += PIECE_WORD_S * (2 * pieces + draws) * step.width() * words_for(step.lanes)
    return seconds


def _bytes(step: Step, committee: Committee) -> int:
    """Of all outputs of a step."""
    rows = bitshares.rows(committee, 1)
    if isinstance(step, Terms | SetTerms):
        return 8 * len(step.outputs) * rows * step.layout_words()
    if isinstance(step, Lookahead):
        return 16 * rows * step.nodes * words_for(step.lanes)
    if isinstance(step, Gate):
        return 8 * len(step.outputs) * rows * (step.width() + 1) * words_for(step.lanes)
    return 16 * _elements(step)


def memory(program: Program, committee: Committee, inputs: Iterable[Number]) -> tuple[int, int]:
    """(most bytes of live registers, most with the messages of the layer), over all layers."""
    sizes = {number.register: 16 * number.count for number in inputs}
    for step in program.steps:
        known = max((sizes.get(r, 0) for r in step.inputs), default=0)
        share = (_bytes(step, committee) or known) // len(step.outputs)
        sizes.update(dict.fromkeys(step.outputs, share))
    live, most, peak = sum(sizes[r] for r in program.inputs), 0, 0
    for layer in range(program.rounds + 1):
        here = program.layers[layer]
        live += sum(sizes[r] for n in (*here.local, *here.rounds) for r in program.steps[n].outputs)
        words = (
            sum(program.words(committee, layer, point) for point in committee.quorum) if here.rounds else 0
        )
        most, peak = max(most, live), max(peak, live + 8 * words)
        live -= sum(sizes[r] for r in here.dropped)
    return most, peak
