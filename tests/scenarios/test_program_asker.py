"""An asker that dies and comes back: the committee has gone on without it, and it reads the result."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.programs import keeping
from protocols.programs.messages import (
    Attempt,
    Layer,
    OutputShare,
    Renounced,
    StartCertificate,
    StartProposal,
)
from protocols.programs.records import Coordinated, StartVoted
from protocols.sessions import events
from tests.scenarios.program_pump import Pump
from tests.scenarios.test_program_sessions import LINE, TABLES, WORK, layers_of, value


def away(pump: Pump, trigger, seconds: float) -> list[float]:
    """The asker dies at the first message that fits, and is started again so much later."""
    died: list[float] = []

    def hook(pump, sender, to, message):
        if not died and trigger(message):
            died.append(pump.now)
            pump.kill(0)
            pump.push(pump.now + seconds, lambda: pump.restart(0))
        return message

    pump.hook = hook
    return died


@pytest.mark.parametrize("layer", [0, 7, -1])
@pytest.mark.parametrize("seconds", [0.3, 5.0])
@pytest.mark.parametrize("n", [4, 5])
def test_the_asker_dies_at_a_layer_and_reads_the_result_when_it_is_back(layer, seconds, n) -> None:
    """With five members four compute on without it; with the fewest they wait for a new attempt."""
    pump = Pump(WORK, TABLES, n=n)
    whole = Pump(WORK, TABLES, n=n)
    whole.run()
    at = layer % layers_of(whole)
    died = away(pump, lambda m: isinstance(m, Layer) and m.layer == at, seconds)
    pump.run()
    assert died
    assert value(pump) == np.median(LINE)
    assert pump.now < died[0] + seconds + 3


def test_the_asker_dies_while_the_shares_of_the_outputs_are_under_way() -> None:
    pump = Pump(WORK, TABLES)
    died = away(pump, lambda m: isinstance(m, OutputShare), 5.0)
    pump.run()
    assert died
    assert value(pump) == np.median(LINE)
    attempts = {record.number for _, record in pump.records if type(record).__name__ == "AttemptTaken"}
    assert attempts == {0}  # finished without it: nothing is computed twice


def test_three_members_of_which_one_asks_and_dies() -> None:
    """All three must compute: the others wait for it."""
    pump = Pump(WORK, TABLES, n=3, substitutes=0)
    died = away(pump, lambda m: isinstance(m, Layer) and m.layer == 4, 2.0)
    pump.run()
    assert died
    assert value(pump) == np.median(LINE)


def test_an_asker_that_dies_before_the_certificate_gives_up_for_certain() -> None:
    pump = Pump(WORK, TABLES)
    died = away(pump, lambda m: isinstance(m, StartProposal), 1.0)
    outcome = pump.run()
    assert died
    assert isinstance(outcome, events.Aborted)
    assert outcome.definite
    assert not [record for _, record in pump.records if isinstance(record, Coordinated)]


def test_an_asker_that_dies_with_the_certificate_in_hand_sends_it_when_it_is_back() -> None:
    """It is stored, and nobody has it."""
    pump = Pump(WORK, TABLES)
    died: list[float] = []

    def hook(pump, sender, to, message):
        if not isinstance(message, StartCertificate) or (died and pump.now > died[0] + 0.5):
            return message
        if not died:
            died.append(pump.now)
            pump.kill(0)
            pump.push(pump.now + 1.0, lambda: pump.restart(0))
        return None

    pump.hook = hook
    pump.run()
    assert died
    assert value(pump) == np.median(LINE)


def test_what_the_asker_told_is_stored_before() -> None:
    """A certificate or an attempt that members know of is never forgotten by a restart."""
    pump = Pump(WORK, TABLES)
    step, stored = pump.carry_out, []

    def carry_out(me, effects):
        for effect in effects:
            told = getattr(effect, "message", None)
            if isinstance(getattr(effect, "record", None), Coordinated):
                stored.append(effect.record)
            if me == pump.party(0) and isinstance(told, StartCertificate):
                assert stored[-1].certificate == told
            if me == pump.party(0) and isinstance(told, Attempt):
                assert stored[-1].attempt == told
        step(me, effects)

    pump.carry_out = carry_out

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and message.layer == 6 and pump.party(2) not in pump.dead:
            pump.kill(2)
        return message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    assert len(stored) == 2
    assert max(record.attempts for record in stored) == 1


def test_no_attempt_number_is_given_out_twice() -> None:
    pump = Pump(WORK, TABLES)
    begun: list[Attempt] = []
    times: list[float] = []

    def hook(pump, sender, to, message):
        if isinstance(message, Attempt):
            begun.append(message)
        if isinstance(message, Layer) and message.layer in (3, 9) and len(times) < message.layer // 3:
            times.append(pump.now)
            pump.kill(0)
            pump.push(pump.now + 0.5, lambda: pump.restart(0))
        return message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    assert len(times) >= 2
    by_number = {attempt.number: attempt for attempt in begun}
    assert all(by_number[attempt.number] == attempt for attempt in begun)


def test_a_vote_for_a_start_is_not_taken_back_when_its_voter_kept_no_state() -> None:
    """A state too large to be kept, or a stop before it was: the vote is stored, and there is one."""
    pump = Pump(WORK, TABLES)
    away(pump, lambda m: isinstance(m, Layer) and m.layer == 4, 1e6)
    pump.run()
    me = pump.party(0)
    records = [r for owner, r in pump.records if owner == me and not isinstance(r, keeping.Kept)]
    assert any(isinstance(record, StartVoted) for record in records)
    machine, effects = keeping.restored(pump.keys[0], records, pump.now, None)
    effects += machine.expire(pump.now + 1e6)
    assert isinstance(machine.outcome, events.Aborted)
    assert not [e for e in effects if isinstance(getattr(e, "message", None), Renounced)]
