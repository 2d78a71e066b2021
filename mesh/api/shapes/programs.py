"""A program that somebody asks this node's data for, as its owner reads it before saying yes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProgramInput:
    """Values that one owner deals. `place`: of the owner among those of the plan, by party id.

    `owner`: its name, or "" where the plan is not known yet. `columns` that fill it; "*" are all that the job
    names. `kind`: integer, fixed or bit.
    """

    name: str
    place: str
    owner: str
    columns: tuple[str, ...]
    shape: tuple[int, ...]
    kind: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ProgramOutput:
    """What is opened, and to whom."""

    name: str
    recipient: str
    shape: tuple[int, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class ProgramOperation:
    """How often an operation occurs, and over how many numbers in all."""

    name: str
    times: int
    numbers: int


@dataclass(frozen=True, slots=True)
class ProgramCost:
    """Of one member of the committee that would be drawn now."""

    members: int
    threshold: int
    rounds: int
    sent_bytes: int
    memory_bytes: int
    seconds_lan: float
    seconds_wan: float
    explained: str


@dataclass(frozen=True, slots=True)
class ProgramAsked:
    """Who asked to run which program over which data set of this node, and how its policy answered."""

    digest: str
    requester: str
    dataset: str
    columns: tuple[str, ...]
    purpose: str
    at: float
    allowed: bool
    answer: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """The graph behind a digest. `cost` is None, and `beyond` says why, where it is above this node's limits.

    `steps`: the operations in order, as many as are shown; `left_out`: how many more there are.
    """

    digest: str
    bytes: int
    inputs: tuple[ProgramInput, ...]
    outputs: tuple[ProgramOutput, ...]
    operations: tuple[ProgramOperation, ...]
    steps: tuple[str, ...]
    left_out: int
    cost: ProgramCost | None
    beyond: str
    notes: tuple[str, ...]
    asked: tuple[ProgramAsked, ...]
