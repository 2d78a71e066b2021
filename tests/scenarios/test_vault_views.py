"""Views of a renewal keep together: nobody runs ahead of a quorum, nobody is left behind."""

from __future__ import annotations

from protocols.identifiers import Digest
from protocols.machine import Broadcast
from protocols.sessions.plan import Seat
from protocols.vault.decree import MOST_PATIENCE, VIEWS_AHEAD, Decree, patience
from protocols.vault.renewal_messages import Place, VaultChange, ViewEntered
from tests.scenarios.vault_pump import keys_of

HOLDERS = [keys_of(f"h{index}") for index in range(5)]
SEATS = tuple(Seat(keys.party, keys.sealing_key) for keys in HOLDERS)
PLACE = Place(Digest(b"v" * 32), 0, 0)


def decrees() -> list[Decree]:
    return [Decree(keys, PLACE, SEATS, 1) for keys in HOLDERS]


def changes(effects) -> list[VaultChange]:
    broadcasts = [effect.message for effect in effects if isinstance(effect, Broadcast)]
    return [message for message in broadcasts if isinstance(message, VaultChange)]


def move(decree: Decree, view: int) -> VaultChange:
    """Go from view to view until `view`."""
    while decree.view < view:
        said = changes(decree.next_view())[0]
    return said


def tell(decree: Decree, who: int, message: VaultChange) -> list[VaultChange]:
    return changes(decree.receive(HOLDERS[who].party, message, lambda roster: False))


def test_who_is_in_a_later_view_counts_for_the_time_of_an_earlier_one() -> None:
    """Four of five are needed; one of them went on already and will never be in view 1 again."""
    first, second, third, fourth, _ = decrees()
    words = [move(second, 1), move(third, 1), move(fourth, 2)]
    move(first, 1)
    for who, word in enumerate(words[:2], 1):
        tell(first, who, word)
    assert not first.is_entered
    tell(first, 3, words[2])
    assert first.view == 1
    assert first.is_entered


def test_two_who_are_ahead_take_the_others_along_but_one_does_not() -> None:
    first, second, third, _, _ = decrees()
    tell(first, 1, move(second, 7))
    assert first.view == 0
    assert [word.change.view for word in tell(first, 2, move(third, 3))] == [3]
    assert first.view == 3


def test_a_seat_that_is_very_far_behind_is_taken_along() -> None:
    first, second, third, _, _ = decrees()
    far = 2 * VIEWS_AHEAD
    tell(first, 1, move(second, far))
    tell(first, 2, move(third, far))
    assert first.view == far


def test_one_liar_cannot_fill_the_memory_with_views() -> None:
    first, second, *_ = decrees()
    for view in range(1, 300):
        tell(first, 1, move(second, view))
    assert len(first._changes) <= VIEWS_AHEAD
    assert first.view == 0


def test_after_a_restart_the_promise_is_said_again() -> None:
    again = decrees()[0]
    again.restore(ViewEntered(0, 4))
    assert again.view == 4
    assert [word.change.view for word in changes(again.again())] == [4]


def test_patience_doubles_when_each_seat_has_had_its_turn() -> None:
    assert [patience(view, 4) for view in (0, 3, 4, 7, 8, 12)] == [1, 1, 2, 2, 4, 8]
    assert patience(10_000, 4) == MOST_PATIENCE
