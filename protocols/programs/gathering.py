"""What one member of one generation has been dealt: keys of the sets, and the owners' inputs.

Inputs are dealt to generation 0 only; later generations take their registers over (`recovery`). A dealing
counts here once every piece of it has come, opened, and been found on the committed polynomials; then it
is never replaced: an owner that deals twice has the first counted here, and two members that hold
different ones cannot both have theirs in a start.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.arithmetic.rns import Residues
from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Effect, Publish, Send
from protocols.programs import dealing
from protocols.programs.messages import (
    NOTHING,
    BadDealing,
    Entry,
    Holding,
    InputPart,
    KeyPart,
    Start,
)
from protocols.programs.plan import ProgramPlan, point_of
from protocols.sessions import events
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Seat
from protocols.sharing.prss import SetKeys
from protocols.wire import sealing
from protocols.wire.digest import digest


class Gathering:
    """Dealings held by one member. `repr` shows no secret."""

    def __init__(
        self, plan: ProgramPlan, keys: PartyKeys, seed: bytes, generation: int, seats: tuple[Seat, ...]
    ) -> None:
        point = point_of(seats, keys.party)
        if point is None:
            raise UnexpectedMessage("we hold no seat in this committee")
        self.plan = plan
        self.keys = keys
        self.generation = generation
        self.seats = seats
        self.point = point
        self.inputs: dict[PartyId, tuple[Entry, Residues]] = {}
        self.bad: set[PartyId] = set()
        self._seed = seed
        self._pieces: dict[tuple[PartyId, Digest], dict[int, bytes]] = {}
        self._keys: dict[int, tuple[Digest, Mapping[int, bytes]]] = {}
        self._told: Holding | None = None

    def __repr__(self) -> str:
        return f"Gathering(generation {self.generation}, {len(self._keys)} keys, {len(self.inputs)} inputs)"

    def start(self) -> list[Effect]:
        """Deal our contributions to the keys."""
        public, sealed = dealing.deal_keys(
            self.keys, self.plan.session, self.generation, self.seats, self.plan.threshold, self._seed
        )
        effects: list[Effect] = []
        for seat, blob in zip(self.seats, sealed, strict=True):
            if seat.party == self.keys.party:
                self._take_keys(self.keys.party, KeyPart(public, blob))
            else:
                effects.append(Send(seat.party, KeyPart(public, blob)))
        return effects

    # -- keys ---------------------------------------------------------------------------------------

    def on_keys(self, sender: PartyId, part: KeyPart) -> None:
        """A member's contributions. Raises MalformedMessage naming it when they break its word."""
        if part.dealing.dealer != sender or point_of(self.seats, sender) is None:
            raise MalformedMessage("keys dealt by somebody else than their sender", blame=sender)
        self._take_keys(sender, part)

    def _take_keys(self, sender: PartyId, part: KeyPart) -> None:
        point = point_of(self.seats, sender)
        assert point is not None
        if point in self._keys:
            return
        try:
            opened = dealing.open_keys(self.keys, self.plan.session, self.seats, self.plan.threshold, part)
        except MalformedMessage as error:
            raise MalformedMessage(str(error), blame=sender) from None
        self._keys[point] = (dealing.key_digest(self.plan.session, part.dealing), opened)

    def set_keys(self, start: Start) -> SetKeys:
        """Our keys of the sets. Raises LocalMisuse when a counted contribution is not here."""
        contributions = {
            point: opened for point, (name, opened) in self._keys.items() if start.keys[point - 1] == name
        }
        return dealing.joined_keys(self.plan.size, self.plan.threshold, self.point, start.keys, contributions)

    # -- inputs -------------------------------------------------------------------------------------

    def on_input(self, sender: PartyId, part: InputPart) -> list[Effect]:
        """A piece of an owner's input. Raises MalformedMessage for what proves nothing about the owner."""
        public, plan = part.dealing, self.plan
        if public.dealer != sender or sender not in plan.owners or self.generation:
            raise MalformedMessage("an input dealt by somebody who may not", blame=sender)
        if sender in self.inputs or sender in self.bad:
            return []
        pieces = dealing.check_input(plan.session, plan.size, plan.threshold, public)
        if part.piece >= pieces:
            raise MalformedMessage("a piece that its dealing does not have", blame=sender)
        name = dealing.input_digest(plan.session, public)
        if any(party == sender and other != name for party, other in self._pieces):
            raise MalformedMessage("an owner deals two inputs", blame=sender)
        try:
            opened = dealing.open_input(self.keys, plan.session, plan.size, self.point - 1, part)
        except sealing.SealBroken:
            return self._complain(part)
        held = self._pieces.setdefault((sender, name), {})
        held[part.piece] = opened
        if len(held) < pieces:
            return []
        del self._pieces[sender, name]
        data = b"".join(held[at] for at in range(pieces))
        share = dealing.judged(plan.session, plan.threshold, self.point - 1, public, data)
        if share is None:
            return self._complain(part)
        self.inputs[sender] = (Entry(sender, name, public.rows), share)
        return []

    def _complain(self, part: InputPart) -> list[Effect]:
        """Name the owner; with a dealing of one piece everybody can be shown."""
        owner = part.dealing.dealer
        self.bad.add(owner)
        context = dealing.seal_context(dealing.INPUT, self.plan.session, 0, owner, part.piece)
        shown = sealing.disclose(self.keys.sealing_secret, part.sealed, context)
        complaint = BadDealing(part, self.generation, shown.shared_point, shown.challenge, shown.response)
        named = events.Named(owner, "dealt an inconsistent share", proven=False)
        return [Publish(named), Send(self.plan.initiator, complaint)]

    def drop(self, owner: PartyId) -> None:
        """Its input does not fit the program: do not count it."""
        self.inputs.pop(owner, None)
        self.bad.add(owner)

    # -- telling ------------------------------------------------------------------------------------

    def holding(self) -> Holding:
        """What the initiator is told."""
        keys = tuple(self._keys.get(p, (NOTHING, {}))[0] for p in range(1, self.plan.size + 1))
        entries = tuple(self.inputs[owner][0] for owner in sorted(self.inputs))
        return Holding(self.generation, keys, entries)

    def report(self, lost: frozenset[PartyId]) -> list[Effect]:
        """Tell the initiator when something is new and every member that is here has dealt keys."""
        here = {at for at, seat in enumerate(self.seats, 1) if seat.party not in lost}
        now = self.holding()
        if now == self._told or not here <= self._keys.keys():
            return []
        self._told = now
        return [Send(self.plan.initiator, now)]

    def holds(self, start: Start) -> bool:
        """Whether every dealing that the start counts is here, with the very number of rows."""
        mine = self.holding()
        keys = all(wanted in (NOTHING, held) for wanted, held in zip(start.keys, mine.keys, strict=True))
        if self.generation:
            return keys
        entries = {entry.dealer: entry for entry in mine.inputs}
        return keys and all(entries.get(entry.dealer) == entry for entry in start.inputs)


def guilty_of(plan: ProgramPlan, sender: PartyId, complaint: BadDealing) -> PartyId:
    """Whom a member's complaint proves guilty. Raises UnexpectedMessage, MalformedMessage naming a liar."""
    seat = point_of(plan.seats, sender)
    if seat is None or complaint.generation:
        raise UnexpectedMessage("a complaint of somebody who was dealt nothing")
    if not upheld(plan, seat - 1, complaint):
        raise MalformedMessage("a false complaint", blame=sender)
    return complaint.part.dealing.dealer


def upheld(plan: ProgramPlan, seat: int, complaint: BadDealing) -> bool:
    """True: the owner is guilty, provably. False: the complaint lies. Raises MalformedMessage: neither."""
    part = complaint.part
    public = part.dealing
    pieces = dealing.check_input(plan.session, plan.size, plan.threshold, public)
    listed = public.sealed[part.piece * plan.size + seat : part.piece * plan.size + seat + 1]
    if part.piece >= pieces or listed != (digest("sealed share", part.sealed),):
        raise MalformedMessage("a complaint about a piece that was not dealt")
    context = dealing.seal_context(dealing.INPUT, plan.session, 0, public.dealer, part.piece)
    disclosure = sealing.Disclosure(complaint.shared_point, complaint.challenge, complaint.response)
    try:
        clear = sealing.open_disclosed(plan.seats[seat].sealing_key, part.sealed, context, disclosure)
    except MalformedMessage:
        return False
    if clear is None:
        return True
    if pieces > 1:
        raise MalformedMessage("the piece opens; what is wrong with the others it does not show")
    return dealing.judged(plan.session, plan.threshold, seat, public, clear) is None
