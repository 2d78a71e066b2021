"""Writing programs: registers are handed out here, and compound operations become steps.

Every method appends steps and returns registers. A shared bit is held as `Bit`, that is (e, rho): then a
product of the bit with a value is one product of rho with it, which does not wait for the comparison.

Invariant: the program depends on shapes, ranges and the committee alone, so every member that
assembles the same circuit for the same committee gets the same program.

Symbols: k magnitude bits, w group width, m groups (`carry`), e opened bit, rho random bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.engine import dealtbit
from protocols.engine.carry import CarrySave, Combine, GroupCarry, groups
from protocols.engine.checked import Confirm
from protocols.engine.committee import Committee
from protocols.engine.compare import OpenSign, SetTerms, Terms
from protocols.engine.dealtbit import Dealt, Joined
from protocols.engine.lookahead import Lookahead, Prepared, best_width, plan
from protocols.engine.multiply import Opened, largest_bits
from protocols.engine.pieces import check_size
from protocols.engine.program import Program, Step
from protocols.engine.randombit import BitShare, BitTimes, Signs, Spread
from protocols.errors import LocalMisuse


@dataclass(frozen=True, slots=True)
class Bit:
    """A shared bit of `count` lanes: opened e and random rho (register numbers)."""

    opened: int
    rho: int
    count: int


class Assembler:
    """Collects the steps of one program for one committee."""

    def __init__(self, committee: Committee) -> None:
        self.committee = committee
        self._inputs: list[int] = []
        self._steps: list[Step] = []
        self._registers = 0

    def register(self) -> int:
        """A fresh register."""
        self._registers += 1
        return self._registers - 1

    def input(self) -> int:
        """A register that the caller fills before the program starts."""
        self._inputs.append(self.register())
        return self._inputs[-1]

    def append(self, step: Step) -> int:
        """Take a step; its (first) output."""
        self._steps.append(step)
        return step.outputs[0]

    def program(self, *outputs: int) -> Program:
        """The program so far with these outputs; steps that do not matter to them are dropped.

        In mode A the outputs are handed out once all members confirm the run.
        """
        outputs = self.confirmed(*outputs)
        needed = set(outputs)
        steps: list[Step] = []
        for step in reversed(self._steps):
            if needed & set(step.outputs):
                steps.append(step)
                needed |= set(step.inputs)
        return Program(tuple(self._inputs), tuple(reversed(steps)), outputs)

    def confirmed(self, *registers: int) -> tuple[int, ...]:
        """The same values, in mode A after a round in which all members say that they noticed nothing."""
        if not self.committee.checked:
            return registers
        passed = tuple(self.register() for _ in registers)
        self.append(Confirm(registers, passed))
        return passed

    def multiply(self, x: int, y: int, shape: tuple[int, ...], bits: int = 0, shift: int = 0) -> int:
        """x * y, broadcast to `shape`; truncated by `shift` when |xy| < 2^bits."""
        return self.append(Opened((x, y), (self.register(),), "each", shape, self._room(bits, shift), shift))

    def _room(self, bits: int, shift: int) -> int:
        """Bits that make the opened value positive (`multiply`). Raises LocalMisuse when it would wrap."""
        if shift == 0:
            return 0
        bits = max(bits, shift + len(self.committee.sets.sets).bit_length())
        if bits > largest_bits(self.committee):
            raise LocalMisuse(f"a product of {bits} bits does not fit", fix="declare narrower ranges")
        return bits

    def matmul(self, x: int, y: int, shape: tuple[int, int], bits: int = 0, shift: int = 0) -> int:
        """Matrix product with a result of `shape`."""
        return self.append(
            Opened((x, y), (self.register(),), "matmul", shape, self._room(bits, shift), shift)
        )

    def inner_product(self, x: int, y: int, shape: tuple[int, ...], bits: int = 0, shift: int = 0) -> int:
        """Sum of x * y over the last axis, broadcast."""
        return self.append(Opened((x, y), (self.register(),), "inner", shape, self._room(bits, shift), shift))

    def truncate(self, x: int, shape: tuple[int, ...], bits: int, shift: int) -> int:
        """x / 2^shift, |x| < 2^bits."""
        return self.append(
            Opened((x,), (self.register(),), "identity", shape, self._room(bits, shift), shift)
        )

    def random_bits(self, count: int) -> tuple[int, int]:
        """([rho] mod M, rho's bits over Z_2)."""
        share, bits = self.register(), self.register()
        if dealtbit.applies(self.committee):
            one, other = self.register(), self.register()
            self.append(Dealt((), (one, other, bits), count))
            self.append(Joined((one, other), (share,), count))
            return share, bits
        sign = self.append(Signs((), (self.register(),), count))
        self.append(Spread((sign,), (share, bits), count))
        return share, bits

    def negative(self, x: int, count: int, k: int) -> Bit:
        """Whether x < 0, for |x| < 2^k and x of any shape with `count` elements; the bit is flat."""
        w = best_width(k, count) if self.committee.t == 1 and not self.committee.checked else 1
        terms = self.masked_terms(x, count, k, w, k + 1)
        while len(terms) > 2:
            terms = self.carry_saved(terms, count, k)
        gp = self.append(GroupCarry(terms, (self.register(),), count, k, w))
        gp = self._joined(gp, count, groups(k, w))
        rho, bits = self.random_bits(count)
        opened = self.append(OpenSign((gp, *terms, bits), (self.register(),), count))
        return Bit(opened, rho, count)

    def masked_terms(self, x: int, count: int, k: int, w: int, planes: int) -> tuple[int, ...]:
        """Shared bits of terms that add up to the low planes of x + 2^k.

        Raises LocalMisuse for a committee with too many key sets.
        """
        check_size(self.committee)
        if self.committee.checked:
            terms = tuple(self.register() for _ in self.committee.sets.sets)
            self.append(SetTerms((x,), terms, count, k, planes))
        else:
            terms = tuple(self.register() for _ in range(self.committee.t + 1))
            self.append(Terms((x,), terms, count, k, w, planes))
        return terms

    def _joined(self, gp: int, count: int, m: int) -> int:
        """(G, P) of two groups from those of m."""
        for r in plan(m, count):
            nodes = -(-m // r)
            if r == 2:
                gp = self.append(Combine((gp,), (self.register(),), count, m))
            else:
                products = self.append(Prepared((), (self.register(),), count, nodes, r, 2))
                products = self.append(Prepared((products,), (self.register(),), count, nodes, r, 4))
                if r > 4:
                    products = self.append(Prepared((products,), (self.register(),), count, nodes, r, 8))
                gp = self.append(Lookahead((gp, products), (self.register(),), count, m, r))
            m = nodes
        return gp

    def carry_saved(self, terms: tuple[int, ...], count: int, k: int) -> tuple[int, ...]:
        """One layer of three-to-two additions."""
        out: list[int] = []
        whole = len(terms) - len(terms) % 3
        for at in range(0, whole, 3):
            pair = (self.register(), self.register())
            self.append(CarrySave(terms[at : at + 3], pair, count, k))
            out += pair
        return (*out, *terms[whole:])

    def bit_share(self, bit: Bit) -> int:
        """The bit as a number, flat."""
        return self.append(BitShare((bit.opened, bit.rho), (self.register(),)))

    def bit_times(self, bit: Bit, x: int) -> int:
        """bit * x for a flat x; costs a product, but no round after the comparison."""
        product = self.multiply(bit.rho, x, (bit.count,))
        return self.append(BitTimes((bit.opened, product, x), (self.register(),)))


def count_of(shape: tuple[int, ...]) -> int:
    """Elements of a shape."""
    return int(np.prod(shape, dtype=np.int64))
