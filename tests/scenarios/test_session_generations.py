"""Members of any committee leave while it collects: the next generation goes on, with what there was."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.sessions import events
from tests.scenarios.generations_pump import make_session
from tools.sim.stand_ins import fast_crypto


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


def check_total(pump, inputs, missing=()):
    """Everybody who is there has the total of all inputs but those `missing`; nobody is blamed."""
    expected = field.total(np.stack([v for who, v in inputs.items() if who not in missing]))
    results = []
    for outcome in pump.outcomes().values():
        assert isinstance(outcome, events.Opened), outcome
        assert np.array_equal(outcome.total, expected)
        assert set(outcome.contributors) == set(inputs) - set(missing)
        results.append(outcome.result)
    assert not pump.named()
    return results[0]


def generations(pump, stage):
    """How many generations of a stage its parties came to know."""
    return max(len(m.succession.of(stage)) for p, m in pump.parties.items() if p not in pump.dead)


STAGES = [("leaf 0", 0), ("middle", 2), ("root", 3)]


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_a_member_that_leaves_while_its_stage_collects_is_replaced(name, stage):
    pump, inputs, parts = make_session(middle=True)
    pump.hold_back(parts["devices 0"][:1], 103.5)
    pump.at(101.0, lambda: pump.kill(parts[name][1]))
    pump.start()
    pump.run()
    check_total(pump, inputs)
    assert generations(pump, stage) == 2
    chain = next(m for p, m in pump.parties.items() if p == pump.plan.initiator).succession
    assert all(len(chain.of(other)) <= 2 for other in range(4))


@pytest.mark.parametrize(("name", "stage"), STAGES)
@pytest.mark.parametrize("size", [(4, 1), (7, 2)])
def test_n_minus_t_minus_one_members_leave_one_after_another(name, stage, size):
    pump, inputs, parts = make_session(middle=True, size=size, collect_ms=40_000, total_ms=90_000)
    n, t = size
    pump.hold_back(parts["devices 0"][:1], 120.0)
    for turn in range(n - t - 1):
        pump.at(101.0 + 1.5 * turn, lambda turn=turn: pump.kill(parts[name][turn]))
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    assert generations(pump, stage) >= 3
