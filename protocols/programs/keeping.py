"""What a member stores of its state, so that it can go on after a restart; secret, the journal encrypts it.

    ProgramBegun   the plan and our seed, before anything is sent
    AttemptTaken   an attempt's number, before its first vector is sent
    KeptPiece      part of a mark that is longer than PIECE_WORDS, in order, before its `Kept`
    Kept           a mark: registers, or the last piece of them, with the keys and the certificate they belong
                   to; the inputs as soon as they are certified, later marks from time to time

Pieces whose `Kept` is missing were cut off by a crash and count for nothing.

A restarted member comes back idle with its marks and waits for the next attempt. It never takes an attempt
number again that it took before the restart, so that no mask is used twice even if it is told other vectors
the second time. What it kept may be older than what it had: then others hold a later mark, and hand it over.

    Coordinated    the asker's place: certificate, attempt and seats, before members hear of them

An asker comes back to that place and asks all members how far they are: they have gone on without it, and if
they have finished they send their shares of the outputs once more. Whoever else began no attempt does not
come back: its session ends without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt

from protocols.circuits import graph as graphs
from protocols.errors import LocalMisuse
from protocols.machine import Effect
from protocols.programs import recovery, start
from protocols.programs.messages import FIRST, Attempt, Mark, StartCertificate
from protocols.programs.party import ProgramParty
from protocols.programs.plan import Limits
from protocols.programs.records import AttemptTaken, Coordinated, OutputReleased, ProgramBegun, StartVoted
from protocols.sessions.keys import PartyKeys
from protocols.sharing.prss import MOST_SETS, SetKeys, key_sets
from protocols.wire.bounds import AtMost, Between, Key

MOST_KEPT_BYTES = 128 << 20
"""Of one mark, as much as can be handed over: a larger state is not kept, its member is replaced instead."""
PIECE_WORDS = 1 << 17
"""Of one record: sealing and storing it holds up nothing else for long."""


@dataclass(frozen=True)
class KeptPiece:
    """The next words of a mark's registers; `number` 0 begins anew. Secret."""

    KIND: ClassVar[str] = "program-kept-piece"
    mark: Mark
    number: Annotated[int, Between(0, 1 << 16)]
    residues: Annotated[npt.NDArray[np.uint64], AtMost(1 << 17)]

    def __repr__(self) -> str:
        return f"KeptPiece({self.mark}, {self.number}, …)"


@dataclass(frozen=True)
class Kept:
    """One mark of one member. `repr` is never logged; the journal encrypts it."""

    KIND: ClassVar[str] = "program-kept"
    certificate: StartCertificate
    first: StartCertificate
    keys: Annotated[tuple[Key, ...], AtMost(MOST_SETS)]
    mark: Mark
    forms: Annotated[tuple[recovery.Form, ...], AtMost(recovery.MAX_REGISTERS)]
    residues: Annotated[npt.NDArray[np.uint64], AtMost(1 << 24)]
    bits: Annotated[bytes, AtMost(1 << 24)]

    def __repr__(self) -> str:
        return f"Kept({self.mark}, …)"


@dataclass(frozen=True, slots=True)
class State:
    """One mark of a member, as it computes with it; arrays are never changed, so it can be stored later."""

    certificate: StartCertificate
    first: StartCertificate
    keys: tuple[bytes, ...]
    mark: Mark
    registers: dict[int, Any]

    def __repr__(self) -> str:
        return f"State({self.mark}, …)"

    @property
    def size_bytes(self) -> int:
        """Of all registers."""
        return sum(int(getattr(value, "nbytes", 0)) for value in self.registers.values())

    def records(self) -> Iterator[KeptPiece | Kept]:
        """To be stored in this order; made one by one, so that there is no second copy of the state."""
        forms, bits = recovery.described(self.registers)
        held: list[npt.NDArray[np.uint64]] = []
        room, number = PIECE_WORDS, 0
        for row in recovery.rows(self.registers):
            at = 0
            while row.size - at > room:
                held.append(row[at : at + room])
                yield KeptPiece(self.mark, number, np.concatenate(held))
                at, held, room, number = at + room, [], PIECE_WORDS, number + 1
            held.append(row[at:])
            room -= row.size - at
        last = np.concatenate([np.zeros(0, dtype=np.uint64), *held])
        yield Kept(self.certificate, self.first, self.keys, self.mark, forms, last, bits)


def newest(party: ProgramParty, done: set[Mark]) -> list[State]:
    """The newest mark and the inputs, unless they are in `done`, where they are noted."""
    member = party.member
    if member is None or member.computing is None or party.certificate is None or party.outcome is not None:
        return []
    assert member.first is not None
    certificate = member.certificate or party.certificate
    marks = sorted(member.computing.marks, key=lambda mark: (mark.attempt, mark.layer))
    found: list[State] = []
    for mark in dict.fromkeys((FIRST, *marks[-1:])):
        registers = member.computing.marks.get(mark)
        if mark in done or registers is None:
            continue
        state = State(certificate, member.first, member.computing.keys.exported(), mark, registers)
        if state.size_bytes <= MOST_KEPT_BYTES:
            done.add(mark)
            found.append(state)
    return found


def kept(party: ProgramParty, done: set[Mark]) -> list[KeptPiece | Kept]:
    """The records of `newest`."""
    return [record for state in newest(party, done) for record in state.records()]


def _states(records: Sequence[object]) -> list[tuple[Kept, npt.NDArray[np.uint64]]]:
    """Every mark that was stored to its end, with all its words."""
    begun: dict[Mark, list[npt.NDArray[np.uint64]]] = {}
    found = []
    for record in records:
        if isinstance(record, KeptPiece):
            pieces = begun.setdefault(record.mark, [])
            if record.number == 0:
                pieces.clear()
            pieces.append(record.residues)
        elif isinstance(record, Kept):
            found.append((record, np.concatenate([*begun.pop(record.mark, ()), record.residues])))
    return found


def restored(
    keys: PartyKeys, records: Sequence[object], now: float, limits: Limits | None
) -> tuple[ProgramParty, list[Effect]]:
    """The party as of its last records, and what it has to say. Raises LocalMisuse if it cannot come back."""
    begun = records[0] if records else None
    if not isinstance(begun, ProgramBegun):
        raise LocalMisuse("nothing to go on with was kept of this program")
    asking = begun.plan.initiator == keys.party
    graph = graphs.decode(begun.graph) if begun.graph else None
    party = ProgramParty(begun.plan, keys, begun.seed, None, "restarted", limits=limits, graph=graph)
    states = _states(records)
    if states:
        _restore_member(party, keys, records, states)
    elif not asking:
        raise LocalMisuse("nothing to go on with was kept of this program")
    elif any(isinstance(record, StartVoted) for record in records):
        party.member = None  # the asker takes no seat without its state: it must not vote once more
    last = next((record for record in reversed(records) if isinstance(record, Coordinated)), None)
    certificate = last.certificate if last else states[-1][0].certificate if states else None
    return party, party.resume(now, certificate, last)


def _restore_member(
    party: ProgramParty,
    keys: PartyKeys,
    records: Sequence[object],
    states: Sequence[tuple[Kept, npt.NDArray[np.uint64]]],
) -> None:
    """Be the member of the last state that was kept. Raises LocalMisuse, MalformedMessage."""
    plan, member, last = party.plan, party.member, states[-1][0]
    mine = [(state, words) for state, words in states if state.certificate == last.certificate]
    numbers = [record.number for record in records if isinstance(record, AttemptTaken)]
    started = last.certificate.start
    attempt = Attempt(started.generation, max(numbers, default=0), started.attempt.mark, ())
    if member is None:
        raise LocalMisuse("no seat was held in this program")
    start.check_certificate(plan, last.certificate)
    sets = key_sets(plan.size, plan.threshold)
    point = start.seat_of(started, keys.party)
    held = SetKeys(sets, point, dict(zip(sets.held(point), last.keys, strict=True)))
    marks = {s.mark: recovery.unpacked(s.forms, words.reshape(2, -1), s.bits) for s, words in mine}
    released = {(r.generation, r.attempt) for r in records if isinstance(r, OutputReleased)}
    votes = {r.generation: r.subject for r in records if isinstance(r, StartVoted)}
    votes[started.generation] = start.start_digest(plan.session, started)
    member.restore(last.first, last.certificate, held, marks, attempt, released, votes)
