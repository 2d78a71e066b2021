"""One generation of the committee at work: attempts, quorums, layers.

An attempt goes from a mark, a state between layers, with exactly 2t+1 members (3t+1 in mode A); the others
are idle and hold the inputs. So as long as the quorum answers nobody waits for the rest, and up to n-2t-1
silent members outside of it cost nothing. When one of the quorum is silent for the plan's patience, or its
link is down, the initiator recounts and begins the next attempt from the latest mark that t+1 members hold;
they hand it to those who are new in the quorum (`handing`).

A member keeps the inputs and its last marks: members of one quorum are a few layers apart at most, since each
needs the others' vectors to go on.

Invariant: shares of one register are of one polynomial as far as honest members go on together: a mark names
the run that made it. Attempt numbers rise, and each is taken once, from one mark; see `start.attempt_label`
for why no mask is used twice. A vector that no honest member sends names its sender and changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from protocols.engine.checked import Deviation
from protocols.engine.committee import Seat
from protocols.engine.evaluator import BadPayload, Evaluator
from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Publish
from protocols.programs.messages import (
    FIRST,
    PART_WORDS,
    Attempt,
    Layer,
    Mark,
    Standing,
    Words,
)
from protocols.programs.plan import ProgramPlan, point_of
from protocols.programs.questions import Compiled
from protocols.programs.start import attempt_label
from protocols.sessions import events
from protocols.sessions.plan import Seat as PlanSeat
from protocols.sharing.prss import SetKeys

KEPT_MARKS = 3
SLOW_LINK = 2e6
"""Bytes a second that a link carries at least; what a long layer takes on it is added to the patience."""
MOST_AHEAD = 64
"""Layers that a vector may be ahead of us."""
AHEAD_BYTES = 64 << 20
"""Of one member's vectors of such layers, or its part of the plan's memory if that is more: who needs our
vector for the next layer is one ahead at most, whatever MOST_AHEAD long vectors would take."""

Registers = dict[int, Any]
_EMPTY = np.zeros(0, dtype=np.uint64)


class Computing:
    """The evaluator of one member, driven by messages. `repr` shows no secret."""

    def __init__(
        self,
        plan: ProgramPlan,
        seats: tuple[PlanSeat, ...],
        keys: SetKeys,
        program: Compiled,
        start: Digest,
        generation: int,
        private: bytes,
    ) -> None:
        self.plan = plan
        self.seats = seats
        self.program = program.lowered.program
        self.generation = generation
        self.marks: dict[Mark, Registers] = {}
        self.attempt: Attempt | None = None
        self.evaluator: Evaluator | None = None
        self.frozen = False
        self.deviation: Deviation | None = None
        """Mode A: what ended the program here, for good."""
        self.keys = keys
        self.rounds_done = 0
        self._start = start
        self._private = private
        self._since = 0.0
        self._carrying = (-1, 0.0)
        self._parts: dict[tuple[int, int, int], dict[int, Words]] = {}
        self._told: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"Computing({self.attempt!r}, {self.evaluator!r})"

    @property
    def point(self) -> int:
        """Ours."""
        return self.keys.point

    @property
    def finished(self) -> bool:
        """Whether our shares of the outputs are here."""
        return self.evaluator is not None and self.evaluator.finished

    @property
    def outputs(self) -> tuple[Any, ...]:
        """Shares of the outputs."""
        assert self.evaluator is not None
        return self.evaluator.outputs

    # -- attempts -----------------------------------------------------------------------------------

    def begin(self, now: float, attempt: Attempt) -> list[Effect]:
        """Go on from the mark; stay idle outside the quorum, wait for a mark that is handed to us.

        Raises UnexpectedMessage for an old attempt, or a mark that is neither held nor handed over.
        """
        if self.attempt is not None and attempt.number <= self.attempt.number:
            raise UnexpectedMessage(f"attempt {attempt.number} is not new")
        if self.deviation is not None:
            raise UnexpectedMessage("a member deviated: this program is not run again")
        if (
            self.point in attempt.quorum
            and self.point not in attempt.fresh
            and attempt.mark not in self.marks
        ):
            raise UnexpectedMessage(f"{attempt.mark} is not held here")
        self.attempt, self.evaluator, self.frozen, self._since = attempt, None, False, now
        self._parts = {key: held for key, held in self._parts.items() if key[0] >= attempt.number}
        return self._run(now)

    def label(self, attempt: Attempt) -> bytes:
        """Of all streams of an attempt."""
        return attempt_label(self._start, attempt)

    def recovered(self, now: float, registers: Registers) -> list[Effect]:
        """The mark was handed to us. Raises UnexpectedMessage unless we wait for it."""
        if not self.waits:
            raise UnexpectedMessage("registers that nobody waits for")
        assert self.attempt is not None
        self.marks[self.attempt.mark] = registers
        return self._run(now)

    @property
    def waits(self) -> bool:
        """Whether we are of the quorum and do not hold its mark yet."""
        attempt = self.attempt
        return attempt is not None and self.point in attempt.fresh and self.evaluator is None

    def _run(self, now: float) -> list[Effect]:
        attempt = self.attempt
        assert attempt is not None
        registers = self.marks.get(attempt.mark)
        if self.point not in attempt.quorum or registers is None:
            return []
        committee = self.plan.committee(attempt.quorum)
        seat = Seat(committee, self.keys, self._private, self.label(attempt), attempt.number)
        self.evaluator = Evaluator(seat, self.program, registers, attempt.mark.layer)
        return [*self._send(), *self.advance(now)]

    def _send(self) -> list[Effect]:
        """Our vector of the layer we are in, to the others of the quorum."""
        assert self.evaluator is not None
        assert self.attempt is not None
        if self.evaluator.finished:
            return []
        vector = self.evaluator.outgoing
        others = tuple(self.seats[at - 1].party for at in self.attempt.quorum if at != self.point)
        number, layer = self.attempt.number, self.evaluator.layer
        return [
            Broadcast(others, Layer(number, layer, part, vector[start : start + PART_WORDS]))
            for part, start in enumerate(range(0, vector.size, PART_WORDS))
        ]

    # -- layers -------------------------------------------------------------------------------------

    def on_layer(self, now: float, sender: PartyId, message: Layer) -> list[Effect]:
        """Keep a part and go on when the layer is complete. Raises MalformedMessage naming the sender."""
        point = point_of(self.seats, sender)
        if point is None:
            raise UnexpectedMessage("a vector of somebody without a seat")
        late = self.attempt is None or message.attempt > self.attempt.number
        if late or (self.waits and self.attempt is not None and message.attempt == self.attempt.number):
            self._check_early(point, message)
            self._keep(point, message)
            return []
        if self.evaluator is None or self.attempt is None:
            raise UnexpectedMessage("a vector for somebody who does not compute")
        if message.attempt < self.attempt.number or message.layer < self.evaluator.layer:
            raise UnexpectedMessage("a vector of a layer that is over")
        if message.layer >= self.evaluator.layer + MOST_AHEAD:
            raise UnexpectedMessage("a vector far ahead")
        self._check(point, message)
        if message.layer > self.evaluator.layer:
            self._check_room(point, message)
        self._keep(point, message)
        return [] if self.frozen else self.advance(now)

    def _check(self, point: int, message: Layer) -> None:
        """Raise MalformedMessage unless the part has the size that the program gives it."""
        assert self.attempt is not None
        blame = self.seats[point - 1].party
        if point not in self.attempt.quorum or message.layer >= self.program.rounds:
            raise MalformedMessage(f"point {point} sends a vector that is not its to send", blame=blame)
        left = self._expected(point, message.layer) - PART_WORDS * message.part
        if message.words.size != min(PART_WORDS, left) or left <= 0:
            raise MalformedMessage(
                f"point {point} sent {message.words.size} words as part {message.part} "
                f"of layer {message.layer}",
                blame=blame,
            )

    def _check_early(self, point: int, message: Layer) -> None:
        """Raise UnexpectedMessage for more than an honest member sends before we begin."""
        if message.layer >= self.program.rounds:
            raise UnexpectedMessage("a vector of no layer")
        place = (message.attempt, message.layer, point)
        committee = self.plan.committee()
        most = 2 * max(self.program.words(committee, message.layer, at) for at in committee.quorum)
        if PART_WORDS * message.part >= max(most, 1):
            raise UnexpectedMessage("a part that no vector of its layer has")
        self._check_room(point, message)
        if place not in self._parts and sum(key[2] == point for key in self._parts) >= MOST_AHEAD:
            raise UnexpectedMessage("too many vectors of one member wait")

    def _check_room(self, point: int, message: Layer) -> None:
        """Raise UnexpectedMessage when the member's long parts for layers to come take too much already."""
        if message.words.size < PART_WORDS:
            return
        now = (self.attempt.number, self.evaluator.layer) if self.attempt and self.evaluator else None
        waiting = sum(len(held) for key, held in self._parts.items() if key[2] == point and key[:2] != now)
        most = max(AHEAD_BYTES, self.plan.limits.memory_bytes // self.plan.size)
        if 8 * PART_WORDS * waiting >= most:
            raise UnexpectedMessage("more of a member's vectors ahead of us than we have room for")

    def _expected(self, point: int, layer: int) -> int:
        assert self.evaluator is not None
        return self.program.words(self.evaluator.seat.committee, layer, point)

    def _keep(self, point: int, message: Layer) -> None:
        self._parts.setdefault((message.attempt, message.layer, point), {}).setdefault(
            message.part, message.words
        )

    def advance(self, now: float) -> list[Effect]:
        """Take every layer whose vectors are complete."""
        effects: list[Effect] = []
        while self.evaluator is not None and not self.evaluator.finished and not self.frozen:
            vectors = self._vectors()
            if vectors is None:
                break
            try:
                self.evaluator.receive(vectors)
            except BadPayload as error:
                self._drop_layer(error.point)
                party = self.seats[error.point - 1].party
                effects.append(Publish(events.Named(party, str(error), proven=False)))
                break
            except Deviation as error:
                self.deviation, self.frozen = error, True
                break
            self._since = now
            self.rounds_done += 1
            self._remember()
            effects += self._send()
        return effects

    def _vectors(self) -> dict[int, Words] | None:
        """The others' vectors of our layer, or None while one is incomplete."""
        assert self.evaluator is not None
        assert self.attempt is not None
        layer, number = self.evaluator.layer, self.attempt.number
        found: dict[int, Words] = {}
        for point in self.attempt.quorum:
            if point == self.point:
                continue
            expected = self._expected(point, layer)
            held = self._parts.get((number, layer, point), {})
            if sum(words.size for words in held.values()) < expected:
                return None
            parts = [held[at] for at in sorted(held)]
            found[point] = parts[0] if len(parts) == 1 else np.concatenate([_EMPTY, *parts])
        for point in self.attempt.quorum:
            self._parts.pop((number, layer, point), None)
        return found

    def _drop_layer(self, point: int) -> None:
        """Forget a vector that cannot be: its sender counts as silent from now on."""
        del point  # the vectors of the layer were taken out already; the next attempt asks again
        self.frozen = True
        self._since = float("-inf")

    def _remember(self) -> None:
        """Keep the latest checkpoints; the inputs stay."""
        assert self.evaluator is not None
        assert self.attempt is not None
        layer, registers = self.evaluator.checkpoint
        mark = Mark(self.attempt.number, layer, Digest(self.label(self.attempt)))
        if layer <= self.attempt.mark.layer or mark in self.marks:
            return
        self.marks[mark] = registers
        late = [m for m in self.marks if m != FIRST]
        for old in late[:-KEPT_MARKS]:
            del self.marks[old]

    # -- trouble ------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When we tell that somebody is missing."""
        waiting = self.waits or (self.evaluator is not None and not self.evaluator.finished)
        if not waiting or self.attempt is None or self._told == self._place():
            return None
        return self._since + self.plan.patience_ms / 1000 + self._carrying_s()

    def _carrying_s(self) -> float:
        """Seconds that vectors take over a slow link; others may still be at the layer before ours."""
        if self.evaluator is None or self.evaluator.finished:
            return 0.0
        layer, committee = self.evaluator.layer, self.evaluator.seat.committee
        if self._carrying[0] != layer:
            near = range(max(0, layer - 1), min(layer + 1, self.program.rounds))
            sizes = [sum(self.program.words(committee, k, at) for at in committee.quorum) for k in near]
            self._carrying = layer, 8 * max(sizes, default=0) / SLOW_LINK
        return self._carrying[1]

    def _place(self) -> tuple[int, int]:
        assert self.attempt is not None
        return self.attempt.number, self.evaluator.layer if self.evaluator else -1

    def missing(self) -> tuple[int, ...]:
        """Points of the quorum whose vector of our layer is not complete; helpers, while we wait for them."""
        if self.waits and self.attempt is not None:
            return self.attempt.helpers
        if self.evaluator is None or self.attempt is None or self.evaluator.finished:
            return ()
        layer, number = self.evaluator.layer, self.attempt.number
        return tuple(
            point
            for point in self.attempt.quorum
            if point != self.point
            and sum(w.size for w in self._parts.get((number, layer, point), {}).values())
            < self._expected(point, layer)
        )

    def complain(self) -> Standing:
        """What the initiator is told when a layer takes too long; once for each layer."""
        self._told = self._place()
        return self.standing(told=True)

    def standing(self, *, told: bool = False) -> Standing:
        """How far we are; `told`: with whom we miss."""
        attempt = self.attempt.number if self.attempt else 0
        layer = self.evaluator.layer if self.evaluator else 0
        marks = tuple(sorted(self.marks, key=lambda m: (m.attempt, m.layer)))[-8:]
        missing = self.missing() if told else ()
        return Standing(self.generation, attempt, layer, marks, missing, self.finished)

    def freeze(self) -> None:
        """Stop this attempt: another one follows."""
        self.frozen = True
