"""How far each operation's result may be from exact arithmetic: one table, stated here and tested.

|result - exact| <= absolute + opening * U + relative * |exact|, where U = (|sets| + 1) / 2 * 2^-16 is what
one truncating opening may add at scale 16 (`multiply`): 3.1e-5 at (3, 1), 8.4e-5 at (5, 2), 1.7e-4 at (7, 2).
Exact arithmetic is that on the inputs as rounded to 2^-16 by their owners. Public real factors are rounded to
2^-20 first. Operations not bounded by a number are exact: linear ones, comparisons, selections, orders.

Probabilistic against exact truncation: an opening rounds at random to one of the neighbours within U;
`decompose.floor_to` (`floor` in a graph) gives the exact one.

Division by a secret zero: `circuits.builder.divide` gives 0 and sets a secret flag; the reciprocal of a
number below its declared low end is a finite number of no meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocols.engine.committee import Committee
from protocols.engine.numbers import SCALE


@dataclass(frozen=True, slots=True)
class Bound:
    """Coefficients of the bound; `where` says on which arguments it holds."""

    absolute: float = 0.0
    opening: float = 0.0
    relative: float = 0.0
    where: str = "everywhere in range"

    def at(self, committee: Committee, exact: float) -> float:
        """The largest error for a committee at an exact result."""
        unit = (len(committee.sets.sets) + 1) / 2 * 2.0**-SCALE
        return self.absolute + self.opening * unit + self.relative * abs(exact)


EXACT = Bound()
BOUNDS: Mapping[str, Bound] = {
    "add": EXACT,
    "sub": EXACT,
    "sum": EXACT,
    "take": EXACT,
    "concat": EXACT,
    "less": EXACT,
    "equal": EXACT,
    "not": EXACT,
    "where": EXACT,
    "relu": EXACT,
    "abs": EXACT,
    "clamp": EXACT,
    "floor": EXACT,
    "max": EXACT,
    "argmax": EXACT,
    "sort": EXACT,
    "mul": Bound(opening=1.0),
    "inner": Bound(opening=1.0, where="however many terms"),
    "matmul": Bound(opening=1.0, where="however many terms"),
    "exp": Bound(
        absolute=2.0**-16, relative=1e-6, where="x <= 16; for a range up to high, relative to e^high"
    ),
    "log": Bound(absolute=1.5e-5, where="x >= low > 0"),
    "reciprocal": Bound(absolute=2.0**-16, relative=1e-6, where="x >= low > 0"),
    "sqrt": Bound(relative=1e-5, where="x >= low > 0"),
    "rsqrt": Bound(relative=1e-5, where="x >= low > 0"),
    "sigmoid": Bound(absolute=1e-5 + 2.0**-15),
    "tanh": Bound(absolute=2e-5 + 2.0**-14),
    "softmax": Bound(absolute=1e-5, opening=1.0, where="rows of up to 2^7 elements"),
}
"""By the operation's name in a graph. `divide` is a reciprocal and a product: both bounds add up."""
