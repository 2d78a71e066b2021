"""What an owner writes down of a program's end, whatever the asker told it."""

from __future__ import annotations

from mesh.runtime.programs.service import known_use
from protocols.identifiers import PartyId
from protocols.programs.party import Finished
from protocols.sessions import events

SITES = (PartyId(bytes(32)), PartyId(b"\1" * 32))


def test_a_use_is_not_given_back_because_the_asker_kept_the_certificate_from_us() -> None:
    assert known_use(Finished(True, SITES), asked_by_us=False) == (True, SITES)
    assert known_use(Finished(True, ()), asked_by_us=False) is None
    assert known_use(Finished(False, ()), asked_by_us=False) is None


def test_only_our_own_definite_abort_gives_a_use_back() -> None:
    definite, unclear = (events.Aborted("C-302", "too few", definite=known) for known in (True, False))
    assert known_use(definite, asked_by_us=True) == (False, ())
    assert known_use(definite, asked_by_us=False) is None
    assert known_use(unclear, asked_by_us=True) is None
