"""Programs: steps over registers, laid out in rounds, with their exact cost before anything runs.

A step reads registers written by earlier steps and writes each of its outputs once. A local step
computes; a round step also sends one vector to all members and reads theirs. A register's depth is
the number of rounds before it can be known; every step runs as early as it can, and all round steps
of one depth share one message. Hence rounds = the largest depth of an output, and the bytes a member
sends are a sum over steps known from shapes alone.

Invariant: layer k = local steps of depth k in program order, then the `begin` of round steps of depth
k, one exchange, and their `finish`. Registers no later step reads are dropped at the end of a layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.engine.committee import Committee, Seat
from protocols.errors import LocalMisuse

Words = npt.NDArray[np.uint64]
Values = tuple[Any, ...]
"""Contents of registers: residues (2, *shape), bit planes (held, planes, words), limbs, masks."""


@dataclass(frozen=True)
class Step(ABC):
    """Reads `inputs`, writes `outputs`: register numbers."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Local(Step):
    """Needs no message."""

    @abstractmethod
    def run(self, seat: Seat, values: Values) -> Values:
        """Values of the outputs from those of the inputs."""


@dataclass(frozen=True)
class Round(Step):
    """Sends one vector of words to all members."""

    @abstractmethod
    def words(self, committee: Committee, step: int, point: int) -> int:
        """How many words the member at `point` sends."""

    def canonical(self, payload: Words) -> bool:
        """Whether an honest member could send this vector; bits are always."""
        del payload
        return True

    @abstractmethod
    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """(what to send, flat; what to keep until `finish`)."""

    @abstractmethod
    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """Values of the outputs from the payloads of all members that send in this step, own included."""


@dataclass(frozen=True)
class Layer:
    """Step numbers of one layer, and the registers that are dead after it."""

    local: tuple[int, ...]
    rounds: tuple[int, ...]
    dropped: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """Steps in an order in which every register is written before it is read."""

    inputs: tuple[int, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    @cached_property
    def depths(self) -> dict[int, int]:
        """Rounds before each register is known. Raises LocalMisuse for one read before it is written."""
        depths = dict.fromkeys(self.inputs, 0)
        for number, step in enumerate(self.steps):
            missing = [r for r in step.inputs if r not in depths]
            if missing or any(r in depths for r in step.outputs):
                raise LocalMisuse(f"step {number} reads {missing} unwritten or writes {step.outputs} twice")
            ready = max((depths[r] for r in step.inputs), default=0)
            depths.update(dict.fromkeys(step.outputs, ready + isinstance(step, Round)))
        return depths

    def _starts(self) -> list[int]:
        return [max((self.depths[r] for r in step.inputs), default=0) for step in self.steps]

    @cached_property
    def rounds(self) -> int:
        """Exchanges until the last output is known."""
        return max((self.depths[r] for r in self.outputs), default=0)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """rounds + 1 of them; the last one has no exchange."""
        starts = self._starts()
        last: dict[int, int] = {}
        for start, step in zip(starts, self.steps, strict=True):
            for register in step.inputs:
                last[register] = max(last.get(register, 0), start)
        kept = set(self.outputs)
        layers = []
        for depth in range(self.rounds + 1):
            here = [number for number, start in enumerate(starts) if start == depth]
            local = tuple(n for n in here if isinstance(self.steps[n], Local))
            rounds = tuple(n for n in here if isinstance(self.steps[n], Round))
            dropped = tuple(r for r in self.depths if r not in kept and last.get(r, self.depths[r]) == depth)
            layers.append(Layer(local, rounds if depth < self.rounds else (), dropped))
        return tuple(layers)

    def words(self, committee: Committee, layer: int, point: int) -> int:
        """Words in the message of `point` in a layer."""
        rounds = [(n, self.steps[n]) for n in self.layers[layer].rounds]
        return sum(s.words(committee, n, point) for n, s in rounds if isinstance(s, Round))

    def sent_bytes(self, committee: Committee, point: int) -> int:
        """Payload bytes `point` sends in the whole run: 8 a word to each of the n-1 others."""
        words = sum(self.words(committee, layer, point) for layer in range(self.rounds))
        return 8 * words * (committee.n - 1)
