"""What one simulated vault goes through and what goes wrong with it, drawn from a seed.

Party 0 owns the vault, party 1 and 2 read it, the rest may hold it: N of them at first. Faults strike until
STOP_S; then everybody who comes back is back, nothing is cut off or lost, and the vault has until TOTAL_S to
be renewed and read again. Among all that may hold it there are never more than T liars.

Invariant: equal seeds give equal scenarios, in every process.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Final

STOP_S: Final = 50.0
TOTAL_S: Final = 100.0
FIRST_HOLDER: Final = 3
VAULT_BEHAVIOURS: Final = (
    "silent", "wrong-share", "bad-shares", "wrong-check", "eager-votes", "replay", "mutate",
    "yes-man", "forged-uses", "false-complaint", "far-views", "two-rosters",
)  # fmt: skip
"""Names of what lying holders do; see `vault_liars`."""


@dataclass(frozen=True, slots=True)
class Outage:
    """Party `index` is down from `at_s` to `back_s` (for good if negative).

    `in_step`: it stops in the middle of its next step; what it stored last, and told nobody of, may be lost.
    """

    index: int
    at_s: float
    back_s: float
    in_step: bool = True


@dataclass(frozen=True, slots=True)
class Asks:
    """Party `index` wants an answer at `at_s`, with so many live `sites`; it asks `few` holders or all."""

    index: int
    at_s: float
    sites: tuple[int, ...] = ()
    few: bool = False


@dataclass(frozen=True, slots=True)
class VaultCut:
    """Nothing passes between `side` and the rest from `start_s` to `end_s`."""

    side: tuple[int, ...]
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class VaultScenario:
    """One vault and its faults; indices count the parties."""

    seed: int
    size: tuple[int, int] = (4, 1)
    spare: int = 2
    epoch_s: float = 15.0
    max_uses: int = 0
    min_sites: int = 1
    asks: tuple[Asks, ...] = ()
    erased_s: float = -1.0
    """When the owner orders its vault erased; never if negative."""
    latency_s: tuple[float, float] = (0.005, 0.02)
    loss: float = 0.0
    duplicate: float = 0.0
    in_order: bool = True
    outages: tuple[Outage, ...] = ()
    cuts: tuple[VaultCut, ...] = ()
    byzantine: tuple[tuple[int, str], ...] = ()
    crooked_owner: bool = False
    """The owner deals some holder a share that does not fit the others."""

    @property
    def parties(self) -> int:
        """Owner, two readers, holders and those who may become holders."""
        return FIRST_HOLDER + self.size[0] + self.spare

    @property
    def faults(self) -> int:
        """How many faults of all kinds it contains; a loss rate counts as one."""
        kinds = (self.loss, self.duplicate, not self.in_order, self.crooked_owner)
        return sum(bool(kind) for kind in kinds) + sum(map(len, (self.outages, self.cuts, self.byzantine)))


def draw(seed: int) -> VaultScenario:
    """The scenario of `seed`."""
    dice = random.Random(seed ^ 0x7A017)
    size = dice.choices([(4, 1), (5, 1), (7, 2)], [10, 3, 2])[0]
    spare = dice.randint(1, 3)
    holders = range(FIRST_HOLDER, FIRST_HOLDER + size[0] + spare)
    rules = dice.choice([(0, 1), (2, 1), (4, 1), (0, 3), (3, 3)])
    calm = VaultScenario(
        seed,
        size=size,
        spare=spare,
        epoch_s=dice.choice([8.0, 15.0, 30.0]),
        max_uses=rules[0],
        min_sites=rules[1],
        asks=_draw_asks(dice, rules[1]),
        erased_s=dice.uniform(1.0, 60.0) if dice.random() < 0.3 else -1.0,
    )
    if dice.random() < 0.1:
        return calm
    if dice.random() < 0.15:
        return _hunt(dice, calm)
    chance = dice.random
    liars = dice.sample(holders, dice.randint(1, size[1])) if chance() < 0.55 else []
    cuts: tuple[VaultCut, ...] = ()
    if chance() < 0.3:
        start = dice.uniform(1.0, STOP_S - 2.0)
        side = tuple(sorted(dice.sample(range(FIRST_HOLDER + len(holders)), dice.randint(1, 3))))
        cuts = (VaultCut(side, start, min(STOP_S, start + dice.expovariate(0.15))),)
    return dataclasses.replace(
        calm,
        latency_s=dice.choice([(0.005, 0.02), (0.001, 0.3)]),
        loss=dice.choice([0.0, 0.0, 0.02]),
        duplicate=dice.choice([0.0, 0.05]),
        in_order=chance() < 0.6,
        outages=_draw_outages(dice, holders, set(liars)),
        cuts=cuts,
        byzantine=tuple((i, dice.choice(VAULT_BEHAVIOURS)) for i in sorted(liars)),
        crooked_owner=chance() < 0.04,
    )


def _hunt(dice: random.Random, calm: VaultScenario) -> VaultScenario:
    """Somebody in league with a holder asks as few as he can, before and after seats change hands."""
    holders = range(FIRST_HOLDER, FIRST_HOLDER + calm.size[0])
    liars = dice.sample(holders, calm.size[1])
    leaving = dice.sample([i for i in holders if i not in liars], calm.size[1])
    moments = sorted(
        [*(dice.uniform(2.0, 9.0) for _ in range(3)), *(dice.uniform(25.0, 80.0) for _ in range(5))]
    )
    sites = [tuple(sorted(dice.sample(range(6), dice.randint(4, 6)))) for _ in moments]
    return dataclasses.replace(
        calm,
        spare=2,
        erased_s=-1.0,
        min_sites=3,
        max_uses=dice.choice([0, 2]),
        asks=tuple(Asks(1, moment, some, True) for moment, some in zip(moments, sites, strict=True)),
        byzantine=tuple((index, "yes-man") for index in sorted(liars)),
        outages=tuple(Outage(index, dice.uniform(10.0, 12.0), -1.0) for index in leaving),
    )


def _draw_asks(dice: random.Random, min_sites: int) -> tuple[Asks, ...]:
    moments = sorted([*(dice.uniform(2.0, 80.0) for _ in range(dice.randint(1, 5))), 92.0])
    most = 6
    return tuple(
        Asks(
            dice.choice([1, 2]),
            moment,
            tuple(sorted(dice.sample(range(most), dice.randint(2, most)))) if min_sites > 1 else (),
            dice.random() < 0.3,
        )
        for moment in moments
    )


def _draw_outages(dice: random.Random, holders: range, liars: set[int]) -> tuple[Outage, ...]:
    """Crashes, most of which end; and the owner is gone for good in some."""
    outages = []
    for index in dice.sample(holders, dice.choices([0, 1, 2, 3], [3, 5, 4, 2])[0]):
        if index in liars:
            continue
        at_s = dice.choice([dice.uniform(0.0, 0.5), dice.uniform(0.0, STOP_S - 5.0)])
        back = min(STOP_S, at_s + dice.expovariate(0.15)) if dice.random() < 0.75 else -1.0
        outages.append(Outage(index, at_s, back, dice.random() < 0.7))
    if dice.random() < 0.4:
        at_s = dice.uniform(0.0, 5.0)
        outages.append(Outage(0, at_s, dice.uniform(20.0, STOP_S) if dice.random() < 0.5 else -1.0))
    return tuple(outages)
