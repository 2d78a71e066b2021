"""One member that gives up, complains without end, or withholds: left out by name, and the rest finish."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.errors import UnexpectedMessage
from protocols.identifiers import Digest
from protocols.programs.disputes import Disputes
from protocols.programs.messages import (
    PIECE_BYTES,
    Attempt,
    Failed,
    Layer,
    Mark,
    RecoveryPart,
    Standing,
    StartVote,
)
from protocols.programs.plan import Limits
from protocols.sessions import events
from tests.scenarios.program_pump import Pump
from tests.scenarios.test_program_sessions import LINE, TABLES, WORK, value


def named(pump: Pump) -> set:
    return {event.party for _, event in pump.events if isinstance(event, events.Named)}


@pytest.mark.parametrize("when", [StartVote, Layer])
@pytest.mark.parametrize("n", [4, 5])
def test_a_member_that_says_it_failed_is_left_out(when: type, n: int) -> None:
    """At the vote and in mid-program; it takes no part any more, and nobody believes its reason."""
    said = []

    def hook(pump, sender, to, message):
        if sender != pump.party(1):
            return message
        if isinstance(message, when) and not said:
            said.append(pump.now)
            pump.arrive(sender, pump.party(0), Failed("C-900", "the sky fell"))
        return None if said and isinstance(message, (StartVote, Layer, Standing)) else message

    pump = Pump(WORK, TABLES, n=n, hook=hook)
    pump.run()
    assert said
    assert value(pump) == np.median(LINE)
    assert named(pump) == {pump.party(1)}
    assert pump.now < 5


def test_a_member_with_tighter_limits_than_the_plan_does_not_end_the_program() -> None:
    pump = Pump(WORK, TABLES)
    pump.machines[pump.party(2)].member._limits = Limits(1, 1, 1)
    pump.run()
    assert value(pump) == np.median(LINE)
    assert named(pump) == {pump.party(2)}


def test_with_too_few_left_the_reason_is_told() -> None:
    pump = Pump(WORK, TABLES[:3], n=3)
    pump.machines[pump.party(2)].member._limits = Limits(1, 1, 1)
    outcome = pump.run()
    assert isinstance(outcome, events.Aborted)
    assert "the plan allows 1" in outcome.reason
    assert outcome.definite
    assert named(pump) == {pump.party(2)}


def complaining(number: int, *, least: int = 1):
    """That member says in every layer that it misses somebody, and answers recounts so."""

    def hook(pump, sender, to, message):
        liar = pump.party(number)
        if sender == liar and isinstance(message, Layer) and message.layer >= least:
            attempt = pump.machines[pump.party(0)].initiator._attempt
            others = tuple(point for point in attempt.quorum if point != number + 1)[:1]
            lie = Standing(0, attempt.number, 0, (), others, False)
            pump.arrive(liar, pump.party(0), lie)
        if sender == liar and isinstance(message, Standing):
            attempt = pump.machines[pump.party(0)].initiator._attempt
            others = tuple(point for point in attempt.quorum if point != number + 1)[:1]
            return Standing(0, message.attempt, 0, message.marks, others, False)
        return message

    return hook


@pytest.mark.parametrize(("n", "t"), [(4, 1), (5, 1), (7, 2)])
def test_a_member_that_complains_without_end_costs_a_few_attempts(n: int, t: int) -> None:
    pump = Pump(WORK, TABLES, n=n, t=t, hook=complaining(1))
    pump.run()
    assert value(pump) == np.median(LINE)
    assert pump.machines[pump.party(0)].initiator.attempts <= 2 * t + 2


def test_a_member_that_withholds_its_vectors_from_one_other_costs_a_few_attempts() -> None:
    """Who misses them complains honestly; the two are not asked to compute together again."""

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and sender == pump.party(1) and to == pump.party(2):
            return None
        return message

    pump = Pump(WORK, TABLES, hook=hook)
    pump.run()
    assert value(pump) == np.median(LINE)
    assert pump.machines[pump.party(0)].initiator.attempts <= 3


def standing(layer: int, *missing: int) -> Standing:
    return Standing(0, 1, layer, (), missing, False)


ATTEMPT = Attempt(0, 1, Mark(0, 0, Digest(bytes(32))), (1, 2, 3))


def test_who_is_held_up_is_not_blamed_for_it() -> None:
    disputes = Disputes(1)
    disputes.heard({1: standing(4, 2), 2: standing(5, 1), 3: standing(6, 1), 4: standing(0)}, ATTEMPT)
    assert disputes.unfit == frozenset()
    assert disputes.ranked((1, 2, 3, 4), (1, 2, 3, 4), 3)[:3] != [1, 2, 3]


def test_complaints_are_explained_by_somebody_who_is_gone() -> None:
    disputes = Disputes(1)
    disputes.heard({1: standing(4, 2, 3), 2: standing(4, 3)}, ATTEMPT)
    assert disputes.ranked((1, 2, 4), (1, 2, 4), 3) == [1, 2, 4]
    assert disputes.unfit == frozenset()


def test_more_disputes_than_can_lie_make_a_member_unfit() -> None:
    disputes = Disputes(1)
    for number, other in ((1, 2), (2, 3)):
        attempt = Attempt(0, number, ATTEMPT.mark, (1, 2, 3))
        told = Standing(0, number, 2, (), (other,), False)
        disputes.heard({1: told, 2: standing(2), 3: standing(2)}, attempt)
    assert disputes.unfit == {1}
    disputes.forget([1])
    assert disputes.unfit == frozenset()


def test_a_helper_cannot_fill_our_memory_with_registers() -> None:
    """A state of this program is a few kilobytes: one piece, whatever a frame may carry."""
    pump = Pump(WORK, TABLES, hook=lambda pump, s, to, m: None if isinstance(m, Layer) else m)
    pump.run(until=0.5)
    member = pump.machines[pump.party(1)].member
    assert 0 < member._handing.most_bytes < PIECE_BYTES
    with pytest.raises(UnexpectedMessage, match="more registers"):
        member.receive(pump.now, pump.party(2), RecoveryPart(1, 0, 64, bytes(PIECE_BYTES)))
    member._handing.most_bytes = 0  # before the program is known
    with pytest.raises(UnexpectedMessage, match="more registers"):
        member.receive(pump.now, pump.party(2), RecoveryPart(1, 0, 1, bytes(200)))
