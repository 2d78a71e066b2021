"""Sessions in which somebody splices messages: no seed with a violation, and what the splices are."""

from __future__ import annotations

from collections import Counter

import pytest

from protocols.sessions.messages import BY_KIND
from protocols.wire import codec
from tools.sim import runner, splicer
from tools.sim.splice_scenario import SPLICE, draw


@pytest.fixture
def spliced(monkeypatch):
    """All that is spliced in a test, as it is said."""
    said = []
    honest = splicer.Splice._spliced

    def listening(self, message):
        made = honest(self, message)
        said.extend([] if made is None else [made])
        return made

    monkeypatch.setattr(splicer.Splice, "_spliced", listening)
    return said


def test_no_violation(spliced):
    tally = runner.run(map(draw, range(24)), print)
    assert not tally.failures
    assert sum(count for ending, count in tally.outcomes.items() if ending.startswith("opened")) >= 8
    kinds = Counter(type(made) for made in spliced)
    assert len(kinds) > len(BY_KIND) // 2
    assert len(set(map(codec.encode, spliced))) > len(spliced) // 2


def test_it_is_bounded_and_of_the_seed_alone(spliced):
    drawn = [draw(seed) for seed in (5, 8)]
    for scenario in drawn:
        runner.simulate(scenario)
    first = [codec.encode(made) for made in spliced]
    spliced.clear()
    for scenario in drawn:
        runner.simulate(scenario)
    assert first == [codec.encode(made) for made in spliced]
    liars = sum(name == SPLICE for scenario in drawn for _, name in scenario.byzantine)
    assert 0 < len(first) <= liars * splicer.MOST_SPLICED
