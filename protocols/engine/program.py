"""Programs: steps over registers, laid out in rounds, with their exact cost before anything runs.

A step reads registers written by earlier steps and writes each of its outputs once. A local step
computes; a round step also sends one vector to all members and reads theirs. A register's depth is
the number of rounds before it can be known; rounds = the largest depth of an output. Within these
rounds every step runs as late as it can, which keeps few registers alive, and all round steps of one
layer share one message. The bytes a member sends are a sum over steps known from shapes alone.

Checkpoints. Shamir shares and public values outlive a change of quorum or committee; shared bits
and masks do not. A layer before which only the former are alive is a checkpoint: from there the program
goes on with other members. Running late makes the boundary between two comparisons one.

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
"""Contents of registers: residues (2, *shape), bit planes (rows, planes, words), limbs, masks."""


@dataclass(frozen=True)
class Step(ABC):
    """Reads `inputs`, writes `outputs`: register numbers."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def portable(self) -> tuple[bool, ...]:
        """For each output, whether it is a Shamir share or public."""
        return (True,) * len(self.outputs)


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

    @cached_property
    def rounds(self) -> int:
        """Exchanges until the last output is known."""
        return max((self.depths[r] for r in self.outputs), default=0)

    @cached_property
    def _starts(self) -> list[int]:
        """The latest layer in which each step can run without adding a round."""
        due = dict.fromkeys(self.outputs, self.rounds)
        starts = [0] * len(self.steps)
        for number in range(len(self.steps) - 1, -1, -1):
            step = self.steps[number]
            latest = min(due.get(r, self.rounds) for r in step.outputs) - isinstance(step, Round)
            starts[number] = latest
            due.update({r: min(latest, due.get(r, latest)) for r in step.inputs})
        return starts

    @cached_property
    def _lives(self) -> dict[int, tuple[int, int]]:
        """(first layer, last layer) of each register; outputs live on."""
        lives = dict.fromkeys(self.inputs, (0, 0))
        for start, step in zip(self._starts, self.steps, strict=True):
            lives.update({r: (start + isinstance(step, Round),) * 2 for r in step.outputs})
            lives.update({r: (lives[r][0], max(start, lives[r][1])) for r in step.inputs})
        lives.update({r: (lives[r][0], self.rounds + 1) for r in self.outputs})
        return lives

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """rounds + 1 of them; the last one has no exchange."""
        layers = []
        for depth in range(self.rounds + 1):
            here = [number for number, start in enumerate(self._starts) if start == depth]
            local = tuple(n for n in here if isinstance(self.steps[n], Local))
            rounds = tuple(n for n in here if isinstance(self.steps[n], Round))
            dropped = tuple(r for r, (_, last) in self._lives.items() if last == depth)
            layers.append(Layer(local, rounds, dropped))
        return tuple(layers)

    @cached_property
    def checkpoints(self) -> frozenset[int]:
        """Layers before which only Shamir shares and public values are alive."""
        bound = {
            r
            for step in self.steps
            for r, free in zip(step.outputs, step.portable(), strict=True)
            if not free
        }
        made = {r: s for s, step in zip(self._starts, self.steps, strict=True) for r in step.outputs}
        spans = [(made[r], last) for r in bound for last in [self._lives[r][1]]]
        blocked = {layer for first, last in spans for layer in range(first + 1, last + 1)}
        return frozenset(range(self.rounds + 1)) - blocked

    def words(self, committee: Committee, layer: int, point: int) -> int:
        """Words in the message of `point` in a layer."""
        rounds = [(n, self.steps[n]) for n in self.layers[layer].rounds]
        return sum(s.words(committee, n, point) for n, s in rounds if isinstance(s, Round))

    def sent_bytes(self, committee: Committee, point: int) -> int:
        """Payload bytes `point` sends in the whole run: 8 a word to each of the n-1 others."""
        words = sum(self.words(committee, layer, point) for layer in range(self.rounds))
        return 8 * words * (committee.n - 1)
