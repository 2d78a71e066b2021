"""Numbers: registers that know their shape, their scale and their range; arithmetic that keeps track.

A number of scale f stands for integer / 2^f. Every operation states the scale and range of its result:
masks are only as long as ranges require, and a program that could wrap is refused while it is written.
Scales are lazy: a public factor only raises the scale, and the next product truncates it away in its
own opening, so affine layers cost no round.

Error. A truncation at scale f adds at most (|sets| + 1) / 2 units of 2^-f (`multiply`); a public real
factor is rounded to 2^-PUBLIC_SCALE. Nothing else rounds.

Symbols: f scale (fraction bits), low and high the range as reals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import rns
from protocols.arithmetic.rns import Residues
from protocols.engine.assembler import Assembler, Bit, count_of
from protocols.engine.compare import WIDEST_COMPARISON
from protocols.engine.local import (
    Concatenate,
    Factor,
    FlipOpened,
    Linear,
    MatrixFactor,
    Reshape,
    Sum,
    Take,
    TakeOpened,
)
from protocols.engine.multiply import WIDEST_ROW, Reveal, largest_bits
from protocols.engine.program import Step
from protocols.errors import LocalMisuse

SCALE = 16
"""Scale of inputs and of products unless said otherwise."""

PUBLIC_SCALE = 20
"""Scale to which public reals are rounded; 2^-20 relative to one."""

MOST_SHIFT = 60
"""Bits one truncation can take off."""


@dataclass(frozen=True, slots=True)
class Number:
    """A shared array of `shape` whose elements lie in [low, high], held at `scale`."""

    register: int
    shape: tuple[int, ...]
    scale: int
    low: float
    high: float
    bit: Bit | None = None

    @property
    def count(self) -> int:
        """Elements."""
        return count_of(self.shape)

    @property
    def bits(self) -> int:
        """|integer| < 2^bits."""
        return bits_for(self.low, self.high, self.scale)


def bits_for(low: float, high: float, scale: int) -> int:
    """Bits of the largest magnitude at a scale. Raises LocalMisuse for an empty or endless range."""
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise LocalMisuse(f"[{low}, {high}] is no range", fix="declare finite bounds, low <= high")
    return max(1, math.ceil(math.ldexp(max(abs(low), abs(high)), scale)).bit_length())


class Calculator(Assembler):
    """Arithmetic on numbers; comparisons give numbers of scale 0 that remember their bit."""

    def _new(self, step: Step, shape: tuple[int, ...], scale: int, low: float, high: float) -> Number:
        number = Number(self.append(step), shape, scale, low, high)
        if number.bits > 118:
            raise LocalMisuse(
                f"a value of {number.bits} bits does not fit", fix="declare narrower ranges with clamped()"
            )
        return number

    def given(self, shape: tuple[int, ...], low: float, high: float, scale: int = SCALE) -> Number:
        """An input of the program."""
        if count_of(shape) == 0:
            raise LocalMisuse(f"an input of shape {shape} has no elements", fix="leave it out")
        number = Number(self.input(), shape, scale, low, high)
        if number.bits > largest_bits(self.committee):
            raise LocalMisuse(f"an input of {number.bits} bits is too wide", fix="narrow its range")
        return number

    def claim(self, x: Number, low: float, high: float) -> Number:
        """x with a range that the caller knows to hold; a false claim leaks or wraps, as no one checks it."""
        return replace(x, low=max(low, x.low), high=min(high, x.high))

    def rescaled(self, x: Number, by: int) -> Number:
        """x / 2^by, for free: the same integer at a larger scale."""
        return replace(
            x, scale=x.scale + by, low=math.ldexp(x.low, -by), high=math.ldexp(x.high, -by), bit=None
        )

    def constant(self, values: npt.NDArray[Any]) -> Number:
        """Public values as a number, for operations that take only shared ones."""
        scale = 0 if values.dtype.kind in "iu" else SCALE
        reals = values.astype(np.float64)
        step = Linear((), (self.register(),), (), reals.shape, _rounded(reals, scale))
        return self._new(step, reals.shape, scale, float(reals.min()), float(reals.max()))

    def at_least(self, x: Number, public: npt.NDArray[Any]) -> Number:
        """x at a scale that can hold the public operand: integers fit any, reals need SCALE."""
        if public.dtype.kind in "iu" or x.scale >= SCALE:
            return x
        return self.leveled(x, SCALE)

    def leveled(self, x: Number, scale: int) -> Number:
        """The same value at a larger scale."""
        if x.scale >= scale:
            return x
        raised = self.affine(x, self._raise(x, scale))
        return replace(x, register=raised.register, scale=scale, bit=None)

    def _raise(self, x: Number, scale: int) -> int:
        """Integer factor that brings x to `scale`."""
        return 1 << (scale - x.scale)

    def add(self, x: Number, y: Number, sign: int = 1) -> Number:
        """x + sign y, broadcast."""
        most = largest_bits(self.committee) - 1
        if max(x.bits - x.scale, y.bits - y.scale) + max(x.scale, y.scale) > most:  # raising would not fit
            x, y = self.truncated(x), self.truncated(y)
        scale = max(x.scale, y.scale)
        shape = np.broadcast_shapes(x.shape, y.shape)
        coefficients = (self._raise(x, scale), sign * self._raise(y, scale))
        low, high = sorted((sign * y.low, sign * y.high))
        step = Linear((x.register, y.register), (self.register(),), coefficients, shape)
        return self._new(step, shape, scale, x.low + low, x.high + high)

    def affine(self, x: Number, factor: int, constant: npt.ArrayLike = 0.0) -> Number:
        """factor x + constant, for an integer factor and public reals, broadcast."""
        reals = np.asarray(constant, dtype=np.float64)
        shape = np.broadcast_shapes(x.shape, reals.shape)
        step = Linear((x.register,), (self.register(),), (factor,), shape, _rounded(reals, x.scale))
        low, high = sorted((factor * x.low, factor * x.high))
        return self._new(step, shape, x.scale, low + float(reals.min()), high + float(reals.max()))

    def times_public(self, x: Number, factor: npt.ArrayLike, scale: int | None = None) -> Number:
        """x times public numbers, broadcast; integers are exact, reals rounded to `scale` bits."""
        integers, scale = _public(factor, scale)
        shape = np.broadcast_shapes(x.shape, integers.shape[1:])
        reals = np.asarray(factor, dtype=np.float64)
        x = self._lighter(x, scale, float(np.abs(reals).max()))
        step = Factor((x.register,), (self.register(),), integers)
        ends = [end * float(f) for end in (x.low, x.high) for f in (reals.min(), reals.max())]
        return self._new(step, shape, x.scale + scale, min(ends), max(ends))

    def _lighter(self, x: Number, scale: int, factor: float) -> Number:
        """x, truncated first when times a public factor of `scale` it could never be truncated again."""
        reach = max(abs(x.low), abs(x.high)) * factor
        excess = bits_for(-reach, reach, x.scale + scale) > largest_bits(self.committee) - 1
        return self.truncated(x) if excess else x

    def mul(
        self, x: Number, y: Number, scale: int = SCALE, within: tuple[float, float] | None = None
    ) -> Number:
        """x * y at `scale`, broadcast, one opening; `within` is a narrower range known to hold."""
        if x.bit is not None or y.bit is not None:
            return self._bit_times(x, y) if x.bit is not None else self._bit_times(y, x)
        shape = np.broadcast_shapes(x.shape, y.shape)
        x, y, ends = self._fitting(x, y, 1, within)
        shift = max(0, min(MOST_SHIFT, x.scale + y.scale - scale))
        bits = bits_for(*ends, x.scale + y.scale)
        register = self.multiply(x.register, y.register, shape, bits, shift)
        return self._truncated(register, shape, x.scale + y.scale - shift, ends, shift)

    def dot(
        self, x: Number, y: Number, scale: int = SCALE, within: tuple[float, float] | None = None
    ) -> Number:
        """x @ y of 2-D numbers, one opening of the result."""
        if len(x.shape) != 2 or len(y.shape) != 2 or x.shape[1] != y.shape[0]:
            raise LocalMisuse(f"matmul: shapes {x.shape} and {y.shape} do not fit", fix="reshape to 2-D")
        shape = (x.shape[0], y.shape[1])
        x, y, ends = self._fitting(x, y, x.shape[1], within)
        shift = max(0, min(MOST_SHIFT, x.scale + y.scale - scale))
        bits = bits_for(*ends, x.scale + y.scale)
        register = self.matmul(x.register, y.register, shape, bits, shift)
        return self._truncated(register, shape, x.scale + y.scale - shift, ends, shift)

    def inner(self, x: Number, y: Number, scale: int = SCALE) -> Number:
        """Sum of x * y over the last axis, broadcast, one opening of the result."""
        full = np.broadcast_shapes(x.shape, y.shape)
        x, y, ends = self._fitting(x, y, full[-1], None)
        shift = max(0, min(MOST_SHIFT, x.scale + y.scale - scale))
        bits = bits_for(*ends, x.scale + y.scale)
        register = self.inner_product(x.register, y.register, full[:-1], bits, shift)
        return self._truncated(register, full[:-1], x.scale + y.scale - shift, ends, shift)

    def _fitting(
        self, x: Number, y: Number, terms: int, within: tuple[float, float] | None
    ) -> tuple[Number, Number, tuple[float, float]]:
        """Operands truncated until their product fits under a mask."""
        ends = [terms * a * b for a in (x.low, x.high) for b in (y.low, y.high)]
        low, high = (min(ends), max(ends)) if within is None else within
        while bits_for(low, high, x.scale + y.scale) > largest_bits(self.committee):
            wide = x if x.scale >= y.scale else y
            excess = bits_for(low, high, x.scale + y.scale) - largest_bits(self.committee)
            if wide.scale - SCALE < min(excess, MOST_SHIFT):
                raise LocalMisuse(
                    f"a product in [{low:g}, {high:g}] does not fit the modulus",
                    fix="declare narrower ranges",
                )
            narrow = self.truncated(wide, wide.scale - min(excess, MOST_SHIFT))
            x, y = (narrow, y) if wide is x else (x, narrow)
        return x, y, (low, high)

    def _truncated(
        self, register: int, shape: tuple[int, ...], scale: int, ends: tuple[float, float], shift: int
    ) -> Number:
        slack = math.ldexp((len(self.committee.sets.sets) + 1) / 2, -scale) if shift else 0.0
        return Number(register, shape, scale, ends[0] - slack, ends[1] + slack)

    def truncated(self, x: Number, scale: int = SCALE) -> Number:
        """x at a smaller scale, one opening; x itself when its scale is no larger."""
        while x.scale > scale:
            shift = min(MOST_SHIFT, x.scale - scale)
            register = self.truncate(x.register, x.shape, x.bits, shift)
            x = self._truncated(register, x.shape, x.scale - shift, (x.low, x.high), shift)
        return x

    def _bit_times(self, bit: Number, x: Number) -> Number:
        """bit * x by way of the random bit, so that the product does not wait for the bit."""
        assert bit.bit is not None
        shape = np.broadcast_shapes(bit.shape, x.shape)
        if bit.shape != shape:
            raise LocalMisuse(
                f"a bit of shape {bit.shape} does not select {x.shape}", fix="broadcast the bit"
            )
        flat = self.reshape(self.broadcast(x, shape), (bit.count,))
        register = self.bit_times(bit.bit, flat.register)
        product = Number(register, flat.shape, x.scale, min(0.0, x.low), max(0.0, x.high))
        return self.reshape(product, shape)

    def negative(self, x: Number) -> Number:  # type: ignore[override]  # numbers know their count and bits
        """1 where x < 0, else 0."""
        while x.bits > WIDEST_COMPARISON:
            x = self.truncated(x, max(x.scale - MOST_SHIFT, x.scale - (x.bits - WIDEST_COMPARISON) - 1))
        bit = super().negative(x.register, x.count, x.bits)
        number = Number(self.bit_share(bit), (x.count,), 0, 0.0, 1.0)
        return replace(self.reshape(number, x.shape), bit=bit)

    def complement(self, bit: Number) -> Number:
        """1 - bit, still a selector."""
        number = self.claim(self.affine(bit, -1, 1.0), 0.0, 1.0)
        if bit.bit is None:
            return number
        opened = self.append(FlipOpened((bit.bit.opened,), (self.register(),)))
        return replace(number, bit=replace(bit.bit, opened=opened))

    def select(self, bit: Number, x: Number, y: Number) -> Number:
        """x where the bit is 1, else y."""
        chosen = self.add(y, self.mul(bit, self.add(x, y, -1)))
        return self.claim(chosen, min(x.low, y.low), max(x.high, y.high))

    def public_dot(self, x: Number, matrix: npt.ArrayLike, *, left: bool = False) -> Number:
        """x @ public matrix (or matrix @ x when `left`), no opening."""
        integers, scale = _public(matrix, None)
        reals = np.asarray(matrix, dtype=np.float64)
        first, second = (reals.shape, x.shape) if left else (x.shape, reals.shape)
        if len(first) != 2 or len(second) != 2 or first[1] != second[0]:
            raise LocalMisuse(f"matmul: shapes {first} and {second} do not fit", fix="reshape to 2-D")
        weight = float(np.abs(reals).sum(axis=1 if left else 0).max())
        x = self._lighter(x, scale, weight)
        step = MatrixFactor((x.register,), (self.register(),), integers, left)
        reach = max(abs(x.low), abs(x.high)) * weight
        return self._new(step, (first[0], second[1]), x.scale + scale, -reach, reach)

    def sum(self, x: Number, axis: int) -> Number:
        """Sum along an axis."""
        terms = x.shape[axis]
        shape = tuple(size for at, size in enumerate(x.shape) if at != axis % len(x.shape))
        step = Sum((x.register,), (self.register(),), axis % len(x.shape))
        return self._new(step, shape, x.scale, terms * x.low, terms * x.high)

    def take(self, x: Number, indices: npt.NDArray[Any]) -> Number:
        """Elements by flat index; the result has the indices' shape, and bits stay bits."""
        chosen = np.asarray(indices, dtype=np.int64)
        number = self._new(
            Take((x.register,), (self.register(),), chosen), chosen.shape, x.scale, x.low, x.high
        )
        if x.bit is None:
            return number
        opened = self.append(TakeOpened((x.bit.opened,), (self.register(),), chosen))
        rho = self.append(Take((x.bit.rho,), (self.register(),), chosen.ravel()))
        return replace(number, bit=Bit(opened, rho, chosen.size))

    def reshape(self, x: Number, shape: tuple[int, ...]) -> Number:
        """The same elements in another shape."""
        if shape == x.shape:
            return x
        return replace(
            x, register=self.append(Reshape((x.register,), (self.register(),), shape)), shape=shape
        )

    def broadcast(self, x: Number, shape: tuple[int, ...]) -> Number:
        """Repeat elements as numpy does."""
        if shape == x.shape:
            return x
        return self.take(x, np.broadcast_to(np.arange(x.count).reshape(x.shape), shape))

    def concatenate(self, parts: list[Number]) -> Number:
        """Flat numbers one after the other, at the largest scale among them."""
        scale = max(part.scale for part in parts)
        level = [self.leveled(p, scale) for p in parts]
        step = Concatenate(tuple(p.register for p in level), (self.register(),))
        low, high = min(p.low for p in parts), max(p.high for p in parts)
        return self._new(step, (sum(p.count for p in parts),), scale, low, high)

    def revealed(self, x: Number) -> int:
        """Open x to all members; the register holds public residues."""
        (register,) = self.confirmed(x.register)
        return self.append(Reveal((register,), (self.register(),), x.shape, x.bits <= WIDEST_ROW))


def _public(values: npt.ArrayLike, scale: int | None) -> tuple[Residues, int]:
    """Public numbers as residues with their scale: 0 for integers."""
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        return rns.from_ints(array), 0
    chosen = PUBLIC_SCALE if scale is None else scale
    return _rounded(array.astype(np.float64), chosen), chosen


def _rounded(reals: npt.NDArray[np.float64], scale: int) -> Residues:
    """Residues (2, *shape) of round(x 2^scale). Raises LocalMisuse for what is not finite."""
    if not np.isfinite(reals).all():
        raise LocalMisuse("a public constant is not finite", fix="check the public operand")
    scaled = np.rint(np.ldexp(reals, scale))
    if scaled.size and np.abs(scaled).max() < 2.0**62:
        return rns.from_ints(scaled.astype(np.int64))
    exact = np.array([int(x) for x in scaled.ravel()], dtype=object).reshape(scaled.shape)
    return rns.from_ints(exact)
