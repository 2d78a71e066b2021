"""Steps that need no message: linear forms, public factors, sums and rearrangements of shares.

All of them are linear over both residues, so they map shares to shares of the same degree.
Invariant: shapes and public operands are part of the step, hence of the program.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import rns
from protocols.arithmetic.rns import Residues
from protocols.engine.committee import Seat
from protocols.engine.program import Local, Values


@dataclass(frozen=True, eq=False)
class Linear(Local):
    """sum_i c_i x_i + constant, broadcast to `shape`; c_i integers, constant residues or None."""

    coefficients: tuple[int, ...]
    shape: tuple[int, ...]
    constant: Residues | None = None

    def run(self, seat: Seat, values: Values) -> Values:
        """Shares of a constant are the constant."""
        del seat
        out = np.zeros((2, *self.shape), dtype=np.uint64)
        for coefficient, value in zip(self.coefficients, values, strict=True):
            if coefficient == -1:
                out = rns.sub(out, value)
            else:
                out = rns.add(out, value if coefficient == 1 else rns.scale(value, coefficient))
        return (out if self.constant is None else rns.add(out, self.constant),)


@dataclass(frozen=True, eq=False)
class Factor(Local):
    """x times public integers, element by element, broadcast."""

    factor: Residues

    def run(self, seat: Seat, values: Values) -> Values:
        """Residue by residue."""
        del seat
        return (rns.mul(values[0], self.factor),)


@dataclass(frozen=True, eq=False)
class MatrixFactor(Local):
    """x @ public matrix, or public matrix @ x when `left`."""

    matrix: Residues
    left: bool = False

    def run(self, seat: Seat, values: Values) -> Values:
        """Residue by residue."""
        del seat
        return (rns.matmul(self.matrix, values[0]) if self.left else rns.matmul(values[0], self.matrix),)


@dataclass(frozen=True, eq=False)
class Take(Local):
    """x.ravel()[indices]: reshapes, slices, transposes, broadcasts and permutations."""

    indices: npt.NDArray[np.int64]

    def run(self, seat: Seat, values: Values) -> Values:
        """The result has the shape of the indices."""
        del seat
        return (values[0].reshape(2, -1)[:, self.indices],)


@dataclass(frozen=True, eq=False)
class TakeOpened(Local):
    """Public booleans (count,) by index, flat."""

    indices: npt.NDArray[np.int64]

    def run(self, seat: Seat, values: Values) -> Values:
        """The companion of `Take` for opened bits."""
        del seat
        return (values[0][self.indices.ravel()],)


@dataclass(frozen=True)
class FlipOpened(Local):
    """Public booleans inverted: 1 - b = (1 + e) + rho."""

    def run(self, seat: Seat, values: Values) -> Values:
        """No share changes."""
        del seat
        return (~values[0],)


@dataclass(frozen=True)
class Reshape(Local):
    """The same elements in another shape."""

    shape: tuple[int, ...]

    def run(self, seat: Seat, values: Values) -> Values:
        """No copy."""
        del seat
        return (values[0].reshape(2, *self.shape),)


@dataclass(frozen=True)
class Concatenate(Local):
    """Flat values one after the other."""

    def run(self, seat: Seat, values: Values) -> Values:
        """Always 1-D."""
        del seat
        return (np.concatenate([value.reshape(2, -1) for value in values], axis=1),)


@dataclass(frozen=True)
class Sum(Local):
    """Sum along one axis."""

    axis: int

    def run(self, seat: Seat, values: Values) -> Values:
        """`axis` counts behind the residue axis."""
        del seat
        return (rns.total(values[0], self.axis),)
