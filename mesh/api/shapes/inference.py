"""A model of this person's, evaluated on rows that others may not see."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InferenceSpec:
    """A model file of this machine and whose rows it is for: `dataset` of another site, or the file `rows`.

    Paths are absolute. `columns` fill a row of the model in this order; of a file, none are all that hold
    numbers. `limit`: the first so many rows. `site`: whose data set, if several have one of that name.
    `reveal`: class or output. `low`, `high`: range of every value of a row.
    """

    model: str
    dataset: str = ""
    rows: str = ""
    columns: tuple[str, ...] = ()
    site: str = ""
    limit: int | None = None
    reveal: str = "class"
    low: float = 0.0
    high: float = 1.0
    mode: str = "P"
    timeout_s: float | None = None
    purpose: str = ""
