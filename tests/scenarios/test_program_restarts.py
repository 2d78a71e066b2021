"""Members that restart with what they kept: the program goes on when too few others are left."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.engine.committee import whole
from protocols.errors import LocalMisuse
from protocols.programs import keeping, questions
from protocols.programs.messages import Layer, Reseat
from protocols.programs.recipient import ProgramOpened
from protocols.programs.records import AttemptTaken
from tests.scenarios.program_pump import Pump, job
from tests.scenarios.test_program_sessions import LINE, TABLES, WORK, value


@pytest.mark.parametrize("killed_at", [0, 6, 21, 34])
def test_two_of_four_members_restart_and_the_program_goes_on_from_a_mark(killed_at: int) -> None:
    pump = Pump(WORK, TABLES)
    restarted = []

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and message.layer == killed_at and not pump.dead and not restarted:
            pump.kill(1)
            pump.kill(2)
            for number in (1, 2):
                restarted.append(number)
                pump.push(pump.now + 1.5, lambda n=number: pump.restart(n))
        return None if sender in pump.dead else message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    assert restarted == [1, 2]


def test_no_attempt_number_is_taken_twice_across_a_restart() -> None:
    pump = Pump(WORK, TABLES)
    sent = {}

    def hook(pump, sender, to, message):
        if isinstance(message, Layer):
            place = (sender, message.attempt, message.layer, message.part)
            assert sent.setdefault(place, message.words.tobytes()) == message.words.tobytes()
            if message.layer == 12 and not pump.dead and len(pump.machines) == 4 and pump.now < 1.0:
                pump.kill(1)
                pump.kill(2)
                for number in (1, 2):
                    pump.push(pump.now + 1.0, lambda n=number: pump.restart(n))
        return None if sender in pump.dead else message

    pump.hook = hook
    assert isinstance(pump.run(), ProgramOpened)
    for number in range(4):
        taken = [r.number for p, r in pump.records if p == pump.party(number) and isinstance(r, AttemptTaken)]
        assert len(taken) == len(set(taken))


def test_a_member_that_kept_nothing_does_not_come_back() -> None:
    pump = Pump(WORK, TABLES)
    pump.run()
    records = [r for p, r in pump.records if p == pump.party(1) and not isinstance(r, keeping.Kept)]
    with pytest.raises(LocalMisuse, match="nothing to go on with"):
        keeping.restored(pump.keys[1], records, 0.0, None)


def test_what_is_kept_shows_no_secret() -> None:
    pump = Pump(WORK, TABLES)
    pump.run()
    states = [record for _, record in pump.records if isinstance(record, keeping.Kept)]
    assert states
    assert all(len(repr(record)) < 200 for _, record in pump.records if not hasattr(record, "subject"))


def test_a_committee_whose_substitute_dies_as_well_goes_on_when_members_come_back() -> None:
    pump = Pump(WORK, TABLES, substitutes=1)
    killed = []

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and message.layer == 6 and not killed:
            killed.extend([1, 2])
            pump.kill(1)
            pump.kill(2)
        if isinstance(message, Reseat) and 4 not in killed:
            killed.append(4)
            pump.kill(4)
            pump.push(pump.now + 1.0, lambda: pump.restart(2))
        return None if sender in pump.dead else message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    assert killed == [1, 2, 4]


SMALL = [{"c": [1.5]}, {"c": [9.25]}, {"c": [7.77]}, {"c": [3.0]}]
LARGEST = job("maximum", "c")
PROGRAM = questions.compiled(LARGEST, questions.Roster((0, 1, 2, 3), (1, 1, 1, 1)), whole(4, 1))
ROUNDS = PROGRAM.cost(whole(4, 1)).rounds


@pytest.mark.parametrize("killed_at", range(ROUNDS))
def test_a_member_killed_at_every_layer_of_a_program(killed_at: int) -> None:
    pump = Pump(LARGEST, SMALL)

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and message.layer == killed_at and not pump.dead:
            pump.kill(next((n for n in (1, 2, 3) if pump.party(n) == sender), 1))
        return None if sender in pump.dead else message

    pump.hook = hook
    pump.run()
    assert value(pump) == 9.25
    assert pump.dead
