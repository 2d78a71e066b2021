"""What a statistic is: a pair of functions around one addition.

`encode` turns one site's values into a vector of field elements, the session adds the vectors of all
sites, `decode` turns the total into the answer. Invariant: decode(encode(a) + encode(b)) is the answer
over the rows of a and b together, and the length is that of `names.length` whatever the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof

if TYPE_CHECKING:
    from protocols.sessions.plan import Query

Floats: TypeAlias = npt.NDArray[np.float64]
Value: TypeAlias = "int | float | tuple[int, ...] | tuple[float, ...] | Floats | None"


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one query over all sites of the roster.

    A vector of values is an array, since it may be long. `value` is None where the statistic is undefined
    (the mean of no rows, the variance of one) and `note` then says why. A histogram's value is the counts of
    the bins between `edges`; values outside are in `under` and `over`.
    """

    statistic: str
    column: str
    value: Value
    n: int
    sites: int
    edges: tuple[float, ...] = ()
    under: int = 0
    over: int = 0
    note: str = ""

    @property
    def listed(self) -> int | float | tuple[int, ...] | tuple[float, ...] | None:
        """The value, an array as a tuple."""
        return tuple(self.value.tolist()) if isinstance(self.value, np.ndarray) else self.value

    def as_json(self) -> dict[str, object]:
        """Plain values for a JSON object; a histogram has its extra fields, others do not."""
        plain: dict[str, object] = {
            "statistic": self.statistic,
            "column": self.column,
            "value": list(self.listed) if isinstance(self.listed, tuple) else self.listed,
            "n": self.n,
            "sites": self.sites,
        }
        if self.edges:
            plain |= {"edges": list(self.edges), "under": self.under, "over": self.over}
        if self.note:
            plain["note"] = self.note
        return plain


class Decoder(Protocol):
    """The half of a statistic that reads totals."""

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:
        """Answer from the sum of `sites` vectors. Raises UnattributableFault for an impossible total."""


class Statistic(Protocol):
    """One statistic. `xof` yields the site's secret randomness for this query."""

    def encode(self, query: Query, values: Floats, xof: Xof) -> Elements:
        """Vector of `names.length` elements, uint64, from values (m,) float64.

        Raises ConfigError C-632, which names the row.
        """

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:
        """Answer from the sum of `sites` vectors. Raises UnattributableFault for an impossible total."""
