"""One party's run of a program: a layer, a message to all, the messages of all, the next layer.

Pure and resumable: `journal` is (layer, registers) as of before the layer's message; an evaluator
rebuilt from it sends the same message, because every mask is drawn from streams labelled by step.
`checkpoint` is the latest such state that does not depend on who takes part: when a member falls
silent, the others build evaluators from it with a seat of another quorum and the next attempt. Members
outside the quorum follow: they receive everything, send nothing, and can step in at once.

Invariant: `outgoing` is the vector for the current layer, the same for every receiver; `receive`
takes exactly the quorum's vectors of this layer and changes nothing when it refuses them. After a
`Deviation` (mode A) it has stopped for good: there is nothing to send and nothing to take any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from protocols.engine.checked import Deviation
from protocols.engine.committee import Seat
from protocols.engine.program import Local, Program, Round, Words
from protocols.errors import LocalMisuse, MalformedMessage, UnexpectedMessage


class BadPayload(MalformedMessage):
    """A member's vector has the wrong length or residues that are not canonical; `point` says whose."""

    def __init__(self, message: str, *, point: int) -> None:
        super().__init__(message)
        self.point = point


class Evaluator:
    """Evaluates `program` from this seat. `repr` shows progress, never values."""

    def __init__(self, seat: Seat, program: Program, registers: Mapping[int, Any], layer: int = 0) -> None:
        self.seat = seat
        self.program = program
        self.layer = layer
        missing = [r for r in program.inputs if r not in registers] if layer == 0 else []
        if missing:
            raise LocalMisuse(f"inputs {missing} of the program have no value")
        self._registers = dict(registers)
        self._journal = dict(registers)
        self._checkpoint = (layer, dict(registers))
        self._kept: dict[int, Any] = {}
        self._payloads: dict[int, Words] = {}
        self._stopped: Deviation | None = None
        self._begin()

    def __repr__(self) -> str:
        return f"Evaluator(layer {self.layer} of {self.program.rounds}, {self.seat!r})"

    @property
    def finished(self) -> bool:
        """Whether the outputs are known."""
        return self.layer == self.program.rounds

    @property
    def outputs(self) -> tuple[Any, ...]:
        """Values of the program's output registers. Raises LocalMisuse before the end."""
        if not self.finished:
            raise LocalMisuse(f"the program is in layer {self.layer} of {self.program.rounds}")
        return tuple(self._registers[r] for r in self.program.outputs)

    @property
    def journal(self) -> tuple[int, dict[int, Any]]:
        """(layer, registers) from which this layer can be begun again; secret."""
        return self.layer, dict(self._journal)

    @property
    def checkpoint(self) -> tuple[int, dict[int, Any]]:
        """(layer, registers) from which another quorum can go on: Shamir shares and public values; secret."""
        return self._checkpoint[0], dict(self._checkpoint[1])

    @property
    def outgoing(self) -> Words:
        """This layer's vector for all members, 1-D uint64; may be empty. Raises Deviation once stopped."""
        if self._stopped is not None:
            raise self._stopped
        rounds = self.program.layers[self.layer].rounds
        parts = [self._payloads[n] for n in rounds]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)

    def receive(self, messages: Mapping[int, Words]) -> None:
        """Take the vectors of the other members of the quorum and go to the next layer.

        Raises UnexpectedMessage after the end or when the senders are not exactly the others of the
        quorum, BadPayload naming the member whose vector no honest member sends, Deviation for a lie.
        """
        if self._stopped is not None:
            raise self._stopped
        others = [point for point in self.seat.committee.quorum if point != self.seat.point]
        if self.finished or sorted(messages) != others:
            raise UnexpectedMessage(f"layer {self.layer} takes vectors of {others}, not {sorted(messages)}")
        cut = {point: self._split(point, message) for point, message in messages.items()}
        layer = self.program.layers[self.layer]
        try:
            results = self._finished_steps(layer.rounds, cut)
        except Deviation as error:
            self._stopped = error
            raise
        for number, values in zip(layer.rounds, results, strict=True):
            self._registers.update(zip(self.program.steps[number].outputs, values, strict=True))
        self._drop()
        self.layer += 1
        self._journal = dict(self._registers)
        if self.layer in self.program.checkpoints:
            self._checkpoint = (self.layer, dict(self._registers))
        self._begin()

    def _finished_steps(
        self, numbers: tuple[int, ...], cut: Mapping[int, dict[int, Words]]
    ) -> list[tuple[Any, ...]]:
        """Outputs of the layer's round steps."""
        results = []
        for number in numbers:
            step = self.program.steps[number]
            assert isinstance(step, Round)
            payloads = {p: parts[number] for p, parts in cut.items() if parts[number].size}
            if self._payloads[number].size:
                payloads[self.seat.point] = self._payloads[number]
            results.append(
                step.finish(self.seat, number, self._values(number), self._kept.pop(number), payloads)
            )
        return results

    def _values(self, number: int) -> tuple[Any, ...]:
        return tuple(self._registers[r] for r in self.program.steps[number].inputs)

    def _drop(self) -> None:
        for register in self.program.layers[self.layer].dropped:
            self._registers.pop(register, None)

    def _begin(self) -> None:
        layer = self.program.layers[self.layer]
        for number in layer.local:
            step = self.program.steps[number]
            assert isinstance(step, Local)
            values = step.run(self.seat, self._values(number))
            self._registers.update(zip(step.outputs, values, strict=True))
        self._payloads = {}
        for number in layer.rounds:
            round_step = self.program.steps[number]
            assert isinstance(round_step, Round)
            self._payloads[number], self._kept[number] = round_step.begin(
                self.seat, number, self._values(number)
            )

    def _split(self, point: int, message: Words) -> dict[int, Words]:
        """A member's vector cut into the payloads of the layer's steps."""
        expected = self.program.words(self.seat.committee, self.layer, point)
        if message.dtype != np.uint64 or message.shape != (expected,):
            raise BadPayload(
                f"point {point} sent {message.shape} words in layer {self.layer}, not {expected}", point=point
            )
        parts, start = {}, 0
        for number in self.program.layers[self.layer].rounds:
            step = self.program.steps[number]
            assert isinstance(step, Round)
            size = step.words(self.seat.committee, number, point)
            parts[number] = message[start : start + size]
            start += size
            if not step.canonical(parts[number]):
                raise BadPayload(
                    f"point {point} sent a residue out of range in layer {self.layer}", point=point
                )
        return parts
