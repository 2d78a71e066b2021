"""Sessions that members and adders leave one after another: all who stay open, over all that stay."""

from __future__ import annotations

from collections import Counter

from tools.sim import departure_scenario
from tools.sim.runner import run

SEEDS = range(12)


def test_departures_in_turn_end_nothing():
    tally = run(map(departure_scenario.draw, SEEDS), print)
    assert not tally.failures
    assert all(outcome.startswith("opened") for outcome in tally.outcomes)
    assert sum(n for outcome, n in tally.outcomes.items() if outcome >= "opened after 2") > len(SEEDS) // 4


def test_as_many_leave_one_committee_as_are_promised_and_no_more():
    most = Counter()
    for scenario in map(departure_scenario.draw, range(200)):
        committees = departure_scenario.committees_of(
            scenario.size, scenario.clusters, scenario.spare, scenario.devices, scenario.apart
        )
        gone = {crash.index for crash in scenario.crashes}
        assert all(set(committee.adders) - gone for committee in committees)
        left = [len(gone & {*committee.seats, *committee.spare}) for committee in committees]
        most[scenario.size] = max(most[scenario.size], *left)
        assert len(gone & {*range(1, 1 + scenario.devices)}) <= 1
    assert most == {(4, 1): 2, (7, 2): 4}
