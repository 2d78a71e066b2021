"""Sessions in which somebody says what no honest party says and every codec takes; see `splicer`.

Everything else is drawn as for sessions, with more trees, or for sessions of masked vectors.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Final

from tools.sim import masked_scenario, scenario
from tools.sim.masked_scenario import MaskedScenario
from tools.sim.scenario import Scenario

SPLICE: Final = "splice"


def draw(seed: int) -> Scenario | MaskedScenario:
    """The scenario of `seed`: up to the threshold of parties splice, and some lie otherwise as well."""
    dice = random.Random(seed ^ 0x5711CE)
    drawn: Scenario | MaskedScenario = scenario.draw(seed)
    if dice.random() < 0.3:
        drawn = masked_scenario.draw(seed)
    elif dice.random() < 0.5:
        drawn = dataclasses.replace(drawn, clusters=2, by_role=dice.random() < 0.7)
    parties = max(drawn.size[0] + drawn.spare, drawn.devices)
    liars = sorted({index for index, _ in drawn.byzantine})
    liars = liars or sorted(dice.sample(range(parties), dice.randint(1, drawn.size[1])))
    more = tuple(lie for lie in drawn.byzantine if dice.random() < 0.3)
    return dataclasses.replace(drawn, byzantine=(*more, *((index, SPLICE) for index in liars)))
