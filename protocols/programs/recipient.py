"""A recipient's part: gather output shares by attempt and decode what the plan lets it learn.

Mode P: with shares of 2t+1 members it decodes at once; with fewer, but more than t, after a grace period.
Mode A: a result is what 2t+1 shares agree on, t+1 of them honest, however long the others take. With less,
two liars among five shares of degree 2 make another polynomial, and an honest member seems to lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocols.arithmetic.rns import Residues
from protocols.arithmetic.xof import Xof
from protocols.errors import MalformedMessage, ProtocolError, UnattributableFault, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Effect, Publish
from protocols.programs import results, start
from protocols.programs.answers import numbers
from protocols.programs.messages import PIECE_BYTES, Entry, OutputShare, StartCertificate
from protocols.programs.plan import ProgramPlan, point_of
from protocols.programs.questions import Compiled
from protocols.sessions import events
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Seat
from protocols.wire.digest import digest

GRACE_S = 0.5
MAX_WAITING = 16
"""Output shares of one sender that are kept before their start has come."""


@dataclass(frozen=True)
class ProgramOpened:
    """Outcome: the outputs this party may learn, by name, and whose inputs they are of."""

    outputs: dict[str, npt.NDArray[np.float64]]
    inputs: tuple[Entry, ...]
    transcript: Digest
    rounds: int
    attempts: int
    liars: tuple[PartyId, ...] = ()


class Recipient:
    """Decodes outputs once."""

    def __init__(self, plan: ProgramPlan, keys: PartyKeys, seed: bytes) -> None:
        self.plan = plan
        self.keys = keys
        self.opened: ProgramOpened | None = None
        self._seed = seed
        self._starts: dict[int, StartCertificate] = {}
        self._program: Compiled | None = None
        self._pieces: dict[tuple[int, int], dict[int, dict[int, bytes]]] = {}
        self._sizes: dict[tuple[int, int, int], int] = {}
        self._early: list[tuple[PartyId, OutputShare]] = []
        self._since: float | None = None

    @property
    def deadline(self) -> float | None:
        """End of the grace period."""
        return None if self._since is None or self.opened is not None else self._since + GRACE_S

    def expire(self, now: float) -> list[Effect]:
        """Decode what there is."""
        if self.deadline is None or now < self.deadline:
            return []
        self._since = None
        return self._decode(1) if self.plan.mode == "P" else []

    def started(self, now: float, certificate: StartCertificate, program: Compiled) -> list[Effect]:
        """A checked certificate and its program: shares that came early can be read."""
        self._program = program
        self._starts[certificate.start.generation] = certificate
        early, self._early = self._early, []
        effects: list[Effect] = []
        for sender, message in early:
            try:
                effects += self.receive(now, sender, message)
            except ProtocolError:
                continue  # one party's rubbish must not cost us the start, nor the others' shares
        return effects

    def _seats(self, generation: int) -> tuple[Seat, ...]:
        certificate = self._starts.get(generation)
        return certificate.start.seats if certificate else ()

    def receive(self, now: float, sender: PartyId, message: OutputShare) -> list[Effect]:
        """A piece of a member's share. Raises MalformedMessage naming it."""
        if self.opened is not None:
            return []
        if self._program is None or message.generation not in self._starts:
            if sum(other == sender for other, _ in self._early) >= MAX_WAITING:
                raise UnexpectedMessage("too many output shares wait")
            self._early.append((sender, message))
            return []
        point = point_of(self._seats(message.generation), sender)
        if point is None or message.piece >= message.pieces or message.pieces > self._most_pieces():
            raise UnexpectedMessage("an output share of somebody without a seat, or of no output")
        place = (message.generation, message.attempt)
        clear = results.opened(self.keys, self.plan.session, sender, message)
        held = self._pieces.setdefault(place, {}).setdefault(point, {})
        held[message.piece] = clear
        self._sizes[(*place, point)] = message.pieces
        if self._since is None and len(self._whole(place)) > self.plan.threshold:
            self._since = now
        return self._decode(self.plan.threshold + 1)

    def _most_pieces(self) -> int:
        """Of one member's share of what we may learn."""
        assert self._program is not None
        chosen = results.told(self.plan, self._program, self.keys.party)
        count = sum(self._program.lowered.outputs[at][2].count for at in chosen)
        return max(1, -(-16 * count // PIECE_BYTES))

    def _whole(self, place: tuple[int, int]) -> list[int]:
        """Points whose share is complete."""
        held = self._pieces.get(place, {})
        return [p for p, pieces in held.items() if len(pieces) == self._sizes[(*place, p)]]

    def _decode(self, spare: int) -> list[Effect]:
        """Try every attempt with t + `spare` shares and more, the latest first."""
        assert self._program is not None
        effects: list[Effect] = []
        for place in sorted(self._pieces, reverse=True):
            points = self._whole(place)
            if len(points) < self.plan.threshold + spare or self.opened is not None:
                continue
            effects += self._try(place, points)
        return effects

    def _try(self, place: tuple[int, int], points: list[int]) -> list[Effect]:
        assert self._program is not None
        chosen = results.told(self.plan, self._program, self.keys.party)
        numbers_ = [self._program.lowered.outputs[at] for at in chosen]
        seats = self._seats(place[0])
        shares: dict[int, Residues] = {}
        for point in points:
            data = b"".join(self._pieces[place][point][k] for k in sorted(self._pieces[place][point]))
            try:
                total = sum(number.count for _, _, number in numbers_)
                shares[point] = results.share_of(data, total, seats[point - 1].party)
            except MalformedMessage:
                continue
        try:
            xof = Xof(self._seed, "coppice/programs/opening/1", bytes(self.plan.session))
            t = self.plan.threshold
            agreeing = 2 * t + 1 if self.plan.mode == "A" else t + 1
            values, liars = results.decoded(shares, t, xof, agreeing)
        except UnattributableFault:
            return []
        outputs: dict[str, npt.NDArray[np.float64]] = {}
        at = 0
        for name, _, number in numbers_:
            part = np.ascontiguousarray(values[:, at : at + number.count]).reshape(2, *number.shape)
            outputs[name] = numbers(number, part)
            at += number.count
        return self._finish(place, outputs, values, tuple(seats[p - 1].party for p in liars))

    def _finish(
        self,
        place: tuple[int, int],
        outputs: dict[str, npt.NDArray[np.float64]],
        values: Residues,
        liars: tuple[PartyId, ...],
    ) -> list[Effect]:
        assert self._program is not None
        certificate = self._starts[place[0]]
        name = start.start_digest(self.plan.session, certificate.start)
        transcript = digest("program result", self.plan.session, name, values.astype("<u8").tobytes())
        rounds = self._program.lowered.program.rounds
        self.opened = ProgramOpened(outputs, certificate.start.inputs, transcript, rounds, place[1], liars)
        named: list[Effect] = [
            Publish(events.Named(party, "sent a wrong share of the result", proven=False)) for party in liars
        ]
        return [*named, Publish(self.opened)]
