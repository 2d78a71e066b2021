"""Registers on their way to members of a quorum that do not hold its mark: substitutes, and members that were
idle so far.

An attempt names them (`fresh`) and t+1 helpers that hold the mark; each helper sends each of them its masked
summand (`recovery`), sealed and cut into pieces. Attempt numbers never repeat in a session, so neither do the
masks of the summands; the label of the attempt makes it so for those that no honest asker begins.
"""

from __future__ import annotations

from typing import Any

from protocols.arithmetic.xof import derive
from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Effect, Send
from protocols.programs import dealing, recovery
from protocols.programs.messages import MAX_ATTEMPTS, PIECE_BYTES, Attempt, RecoveryPart
from protocols.programs.plan import ProgramPlan
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Seat
from protocols.sharing.prss import SetKeys
from protocols.wire import sealing

RECOVERY = "program recovery"


class Handing:
    """Both sides of one party: what it gives as a helper, what it is given."""

    def __init__(self, plan: ProgramPlan, keys: PartyKeys, seed: bytes) -> None:
        self.plan = plan
        self.keys = keys
        self._seed = seed
        self.most_bytes = 0
        """Of one helper's summand: what a state of the program can be; 0 before we know the program."""
        self._parts: dict[int, dict[PartyId, dict[int, bytes]]] = {}
        self._sizes: dict[tuple[int, PartyId], int] = {}

    def give(
        self,
        held: SetKeys,
        seats: tuple[Seat, ...],
        attempt: Attempt,
        registers: dict[int, Any],
        label: bytes,
    ) -> list[Effect]:
        """As a helper: our summands for every fresh seat. `held`: keys that all helpers have in common."""
        effects: list[Effect] = []
        for at in attempt.fresh:
            data = recovery.summand(held, attempt.helpers, at, registers, label)
            pieces = dealing.pieces_of(data)
            for number, piece in enumerate(pieces):
                context = self._context(attempt.number, self.keys.party, number)
                once = derive(self._seed, RECOVERY, context, bytes([at]), label)
                sealed = sealing.seal(seats[at - 1].sealing_key, piece, context, once)
                part = RecoveryPart(attempt.number, number, len(pieces), sealed)
                effects.append(Send(seats[at - 1].party, part))
        return effects

    def take(self, sender: PartyId, message: RecoveryPart) -> None:
        """Keep a piece. Raises MalformedMessage naming the sender, UnexpectedMessage beyond the bounds."""
        if message.attempt > MAX_ATTEMPTS or message.piece >= message.pieces:
            raise UnexpectedMessage("registers for no attempt of ours")
        if (message.pieces - 1) * PIECE_BYTES >= self.most_bytes:
            raise UnexpectedMessage("more registers than a state of the program has")
        if self._sizes.get((message.attempt, sender), message.pieces) != message.pieces:
            raise MalformedMessage("one summand in two numbers of pieces", blame=sender)
        latest = max((number for number, held in self._parts.items() if sender in held), default=-1)
        if message.attempt < latest:
            raise UnexpectedMessage("registers for an attempt that is over")
        context = self._context(message.attempt, sender, message.piece)
        try:
            clear = sealing.unseal(self.keys.sealing_secret, message.sealed, context)
        except sealing.SealBroken as error:
            raise MalformedMessage(str(error), blame=sender) from None
        if 0 <= latest < message.attempt:  # of one sender those of one attempt are kept
            del self._parts[latest][sender]
        self._parts.setdefault(message.attempt, {}).setdefault(sender, {})[message.piece] = clear
        self._sizes[message.attempt, sender] = message.pieces

    def taken(self, attempt: Attempt, seats: tuple[Seat, ...]) -> dict[int, Any] | None:
        """Our registers at the attempt's mark once every helper's summand is complete."""
        helpers = [seats[point - 1].party for point in attempt.helpers]
        parts = self._parts.get(attempt.number, {})
        for party in helpers:
            if len(parts.get(party, {})) < self._sizes.get((attempt.number, party), 1):
                return None
        if not helpers:
            return None
        summands = [b"".join(parts[party][at] for at in sorted(parts[party])) for party in helpers]
        del self._parts[attempt.number]
        return recovery.joined(summands)

    def _context(self, attempt: int, maker: PartyId, piece: int) -> bytes:
        return dealing.seal_context(RECOVERY, self.plan.session, attempt, maker, piece)
