"""A party whose links broke while the result went round, and that comes back, still learns it."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.identifiers import PartyId
from protocols.machine import Broadcast
from protocols.sessions import events
from protocols.sessions.messages import PeersLost, PlanOffer, Result
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan


@pytest.mark.parametrize("who", [0, 5, 15])
def test_who_comes_back_is_told_the_result(who: int) -> None:
    keys = make_keys(16)
    plan = make_plan(keys)
    away = keys[who].party
    pump = Pump(plan, keys, make_inputs(plan))
    pump.tamper = lambda sender, to, message: None if isinstance(message, Result) and to == away else message
    pump.start()
    while not any(isinstance(machine.outcome, events.Opened) for machine in pump.parties.values()):
        pump._deliver(*pump.queue.popleft())
    for party, machine in pump.parties.items():
        if party != away:
            pump._carry_out(party, machine.receive(pump.now, party, PeersLost((away,))))
    while pump.queue:
        sender, to, message = pump.queue.popleft()
        if away not in (sender, to):
            pump._deliver(sender, to, message)
    assert pump.parties[away].outcome is None

    pump.tamper = None
    for party, machine in pump.parties.items():
        pump._carry_out(party, machine.receive(pump.now, party, PeersLost(())))
    while pump.queue:
        pump._deliver(*pump.queue.popleft())
    outcome = pump.parties[away].outcome
    assert isinstance(outcome, events.Opened)
    other = pump.parties[keys[1].party].outcome
    assert isinstance(other, events.Opened)
    assert np.array_equal(outcome.total, other.total)


def test_the_plan_is_offered_again_to_who_comes_back_while_the_session_lasts() -> None:
    keys = make_keys(16)
    plan = make_plan(keys)
    pump = Pump(plan, keys, make_inputs(plan))
    pump.start()
    asker, machine = plan.initiator, pump.parties[plan.initiator]
    away = keys[3].party

    def offers(lost: tuple[PartyId, ...]) -> list[Broadcast]:
        effects = machine.receive(pump.now, asker, PeersLost(lost))
        return [e for e in effects if isinstance(e, Broadcast) and isinstance(e.message, PlanOffer)]

    assert offers((away,)) == []
    assert offers(()) == [Broadcast((away,), PlanOffer(plan))]
    assert offers(()) == []
    pump.run()
    assert machine.outcome is not None
    assert offers((away,)) == offers(()) == []
