"""What a member stores of its state, so that it can go on after a restart; secret, the journal encrypts it.

    ProgramBegun   the plan and our seed, before anything is sent
    AttemptTaken   an attempt's number, before its first vector is sent
    Kept           a mark: registers, with the keys and the certificate they belong to; the inputs as soon as
                   they are certified, later marks from time to time

A restarted member comes back idle with its marks and waits for the next attempt. It never takes an attempt
number again that it took before the restart, so that no mask is used twice even if it is told other vectors
the second time. What it kept may be older than what it had: then others hold a later mark, and hand it over.

Who began no attempt, or is the initiator, does not come back: its session ends without it.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from protocols.programs.records import AttemptTaken, OutputReleased, ProgramBegun, StartVoted
from protocols.sessions.keys import PartyKeys
from protocols.sharing.prss import MOST_SETS, SetKeys, key_sets
from protocols.wire.bounds import AtMost, Key

MOST_KEPT_BYTES = 8 << 20
"""Of one mark: a larger state is not kept, its member is replaced instead."""


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


def kept(party: ProgramParty, done: set[Mark]) -> list[Kept]:
    """The newest mark and the inputs, unless they are in `done`, where they are noted."""
    member = party.member
    if member is None or member.computing is None or party.certificate is None or party.outcome is not None:
        return []
    assert member.first is not None
    certificate = member.certificate or party.certificate
    marks = sorted(member.computing.marks, key=lambda mark: (mark.attempt, mark.layer))
    found: list[Kept] = []
    for mark in dict.fromkeys((FIRST, *marks[-1:])):
        registers = member.computing.marks.get(mark)
        if mark in done or registers is None or _size(registers) > MOST_KEPT_BYTES:
            continue
        done.add(mark)
        forms, residues, bits = recovery.packed(registers)
        keys = member.computing.keys.exported()
        found.append(Kept(certificate, member.first, keys, mark, forms, residues.ravel(), bits))
    return found


def _size(registers: dict[int, Any]) -> int:
    return sum(int(getattr(value, "nbytes", 0)) for value in registers.values())


def restored(
    keys: PartyKeys, records: Sequence[object], now: float, limits: Limits | None
) -> tuple[ProgramParty, list[Effect]]:
    """The party as of its last records, and what it has to say. Raises LocalMisuse if it cannot come back."""
    begun = records[0] if records else None
    states = [record for record in records if isinstance(record, Kept)]
    if not isinstance(begun, ProgramBegun) or not states or begun.plan.initiator == keys.party:
        raise LocalMisuse("nothing to go on with was kept of this program")
    graph = graphs.decode(begun.graph) if begun.graph else None
    party = ProgramParty(begun.plan, keys, begun.seed, None, "restarted", limits=limits, graph=graph)
    last = states[-1]
    mine = [state for state in states if state.certificate == last.certificate]
    numbers = [record.number for record in records if isinstance(record, AttemptTaken)]
    attempt = Attempt(
        last.certificate.start.generation, max(numbers, default=0), last.certificate.start.attempt.mark, ()
    )
    member = party.member
    if member is None:
        raise LocalMisuse("no seat was held in this program")
    start.check_certificate(begun.plan, last.certificate)
    sets = key_sets(begun.plan.size, begun.plan.threshold)
    point = start.seat_of(last.certificate.start, keys.party)
    held = SetKeys(sets, point, dict(zip(sets.held(point), last.keys, strict=True)))
    marks = {s.mark: recovery.unpacked(s.forms, s.residues.reshape(2, -1), s.bits) for s in mine}
    released = {(r.generation, r.attempt) for r in records if isinstance(r, OutputReleased)}
    votes = {r.generation: r.subject for r in records if isinstance(r, StartVoted)}
    votes[last.certificate.start.generation] = start.start_digest(begun.plan.session, last.certificate.start)
    member.restore(last.first, last.certificate, held, marks, attempt, released, votes)
    return party, party.resume(now, last.certificate)
