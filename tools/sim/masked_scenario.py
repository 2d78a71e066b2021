"""Sessions of masked vectors as drawn from a seed: faults of any session, and vectors slow or false."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Final

from tools.sim import scenario
from tools.sim.scenario import Scenario

ABOUT_VECTORS: Final = ("wrong-sum", "false-tag", "keep-vectors", "unclaimed-sum")
"""Names of Byzantine behaviours that concern vectors; see `masked_liars`."""


@dataclass(frozen=True, slots=True)
class MaskedScenario(Scenario):
    """A vector takes up to `vector_s` from party to party. `to_all`: every device takes the total."""

    vector_s: float = 0.05
    to_all: bool = False

    @property
    def lies(self) -> bool:
        """Whether anybody does."""
        return bool(self.byzantine)


def draw(seed: int) -> MaskedScenario:
    """The scenario of `seed`: more trees, and more lost members, than other sessions have."""
    base, dice = scenario.draw(seed), random.Random(seed ^ 0xB01C)
    size = (4, 1) if base.size == (3, 1) else base.size
    parties = max(size[0] + base.spare, base.devices)
    liars = tuple(
        (index, dice.choice(ABOUT_VECTORS) if dice.random() < 0.5 else name) for index, name in base.byzantine
    )
    if not base.faults:
        return _masked(base, size=size, clusters=dice.randint(0, 2), to_all=dice.random() < 0.5)
    crashes = base.crashes
    taken = {crash.index for crash in crashes}
    if len(crashes) < 2 and dice.random() < 0.5:
        lost = [index for index in range(parties) if index not in taken]
        at_s = dice.uniform(0.0, 3.0)
        more = scenario.Crash(dice.choice(lost), at_s, at_s + dice.uniform(0.0, 0.5), -1.0)
        crashes = (*crashes, more)
    return _masked(
        base,
        size=size,
        clusters=dice.randint(0, 2),
        byzantine=liars,
        crashes=crashes,
        vector_s=dice.choice([0.05, 0.3, 1.0]),
        to_all=dice.random() < 0.3,
        collect_s=dice.choice([3.0, 6.0]),
        total_s=20.0,
    )


def _masked(base: Scenario, **changes: object) -> MaskedScenario:
    fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    fields |= {"by_role": False, "min_sites": min(3, base.devices), **changes}
    return MaskedScenario(**fields)
