"""What one simulated session looks like and what goes wrong in it, drawn from a seed (see also `files`).

The fault mix leans on what hurts: most seeds have some faults, one in ten has none (then everybody must
open), and Byzantine parties never exceed the threshold of any committee they could come to sit in.

Invariant: equal seeds and equal overrides give equal scenarios, in every process.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Final

BEHAVIOURS: Final = (
    "silent", "wrong-opening", "wrong-check", "wrong-reshare", "bad-shares", "unopenable", "deal-twice",
    "false-complaint", "forge-ballots", "two-rosters", "withhold", "fake-claims", "flood", "abort-votes",
    "replay", "mutate",
)  # fmt: skip
"""Names of Byzantine behaviours; see `byzantine`."""


@dataclass(frozen=True, slots=True)
class Crash:
    """Party `index` stops at `at_s`; the rest hear of it after `noticed_s` (never if negative).

    With `back_s` >= 0 it is reachable again from then on: it goes on from its journal if it `restores`, else
    it abstains from the session. `in_step`: it stops between two effects of its next step.
    """

    index: int
    at_s: float
    noticed_s: float
    back_s: float
    restores: bool = False
    in_step: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """No message passes between `side` and the rest from `start_s` to `end_s`; both sides notice, or not."""

    side: tuple[int, ...]
    start_s: float
    end_s: float
    noticed: bool


@dataclass(frozen=True, slots=True)
class Scenario:
    """One session and its faults; indices count the parties of the simulated mesh."""

    seed: int
    size: tuple[int, int] = (4, 1)
    clusters: int = 0
    spare: int = 2
    devices: int = 5
    length: int = 1
    min_sites: int = 2
    collect_s: float = 2.0
    total_s: float = 12.0
    latency_s: tuple[float, float] = (0.001, 0.03)
    loss: float = 0.0
    duplicate: float = 0.0
    in_order: bool = True
    skew: float = 0.0
    slow: tuple[int, ...] = ()
    declining: tuple[int, ...] = ()
    crashes: tuple[Crash, ...] = ()
    cuts: tuple[Cut, ...] = ()
    byzantine: tuple[tuple[int, str], ...] = ()
    by_role: bool = False

    @property
    def clean(self) -> bool:
        """Whether nothing goes wrong, and the plan's times suit the links, so that everybody must open."""
        harmful = self.slow or self.loss or self.crashes or self.cuts or self.byzantine or self.skew > 0.01
        hurried = self.collect_s < 10 * self.latency_s[1]
        return not harmful and not hurried and self.devices - len(self.declining) >= self.min_sites

    @property
    def durable(self) -> bool:
        """Whether somebody comes back from its journal."""
        return any(crash.restores for crash in self.crashes)

    @property
    def faults(self) -> int:
        """How many faults of all kinds it contains; a loss rate counts as one."""
        kinds = (self.loss, self.duplicate, not self.in_order, self.skew)
        many = (self.slow, self.declining, self.crashes, self.cuts, self.byzantine)
        return sum(bool(kind) for kind in kinds) + sum(len(items) for items in many)


def draw(seed: int, small: bool = False) -> Scenario:
    """The scenario of `seed`.

    `small`: three devices, one committee of three, one statistic, and nobody who comes back from its journal
    (that would be two sessions in one: the first is replayed); the mix of all other faults is the same.
    """
    dice = random.Random(seed)
    size = (3, 1) if small else dice.choices([(3, 1), (4, 1), (7, 2)], [3, 14, 1])[0]
    clusters = 0 if small else dice.choices([0, 1, 2], [14, 3, 1])[0]
    parties = 4 if small else max(size[0] + 2, 5)
    devices = 3 if small else dice.randint(3, parties)
    base = Scenario(
        seed,
        size=size,
        clusters=clusters,
        spare=1 if small else 2,
        devices=devices,
        length=1 if small else dice.choice([1, 1, 1, 3]),
        min_sites=2 if small else dice.choice([2, 2, 3]),
        by_role=clusters == 2 and seed % 3 > 0,
    )
    if dice.random() < 0.1:
        return base
    chance = dice.random
    latency = dice.choice([(0.001, 0.005), (0.001, 0.03), (0.02, 0.4)])
    return dataclasses.replace(
        base,
        latency_s=latency,
        collect_s=dice.choice([2.0, 6.0]) if latency[1] > 0.1 else 2.0,
        total_s=20.0 if latency[1] > 0.1 else 12.0,
        loss=dice.choice([0.0, 0.0, 0.0, 0.005, 0.03]),
        duplicate=dice.choice([0.0, 0.0, 0.05]),
        in_order=chance() < 0.7,
        skew=dice.choice([0.0, 0.001, 0.05]),
        slow=tuple(i for i in range(parties) if chance() < 0.04),
        declining=tuple(i for i in range(devices) if chance() < 0.06),
        crashes=_draw_crashes(dice, parties, 0.0 if small else 0.7),
        cuts=_draw_cuts(dice, parties),
        byzantine=_draw_byzantine(dice, size, clusters, parties),
    )


def _moment(dice: random.Random) -> float:
    """Half of all faults fall into the first tenth of a second, when most messages fly."""
    return dice.uniform(0.0, 0.1) if dice.random() < 0.5 else dice.expovariate(1.0)


def _draw_crashes(dice: random.Random, parties: int, restoring: float) -> tuple[Crash, ...]:
    count = dice.choices([0, 1, 2, 3], [9, 7, 3, 1])[0]
    crashes = []
    for index in dice.sample(range(parties), count):
        at_s = _moment(dice)
        noticed = -1.0 if dice.random() < 0.2 else at_s + dice.uniform(0.0, 3.0)
        back = at_s + dice.uniform(0.2, 6.0) if dice.random() < 0.3 else -1.0
        restores = back >= 0 and dice.random() < restoring
        crashes.append(Crash(index, at_s, noticed, back, restores, dice.random() < 0.5))
    return tuple(crashes)


def _draw_cuts(dice: random.Random, parties: int) -> tuple[Cut, ...]:
    if dice.random() < 0.75:
        return ()
    side = tuple(sorted(dice.sample(range(parties), dice.randint(1, parties // 2))))
    start = _moment(dice)
    return (Cut(side, start, start + dice.uniform(0.1, 5.0), dice.random() < 0.7),)


def _draw_byzantine(
    dice: random.Random, size: tuple[int, int], clusters: int, parties: int
) -> tuple[tuple[int, str], ...]:
    """At most t parties of those that might sit together in a committee; here that is everybody."""
    del clusters
    if dice.random() < 0.45:
        return ()
    liars = dice.sample(range(parties), dice.randint(1, size[1]))
    return tuple(
        (index, dice.choice(BEHAVIOURS)) for index in sorted(liars) for _ in range(dice.randint(1, 2))
    )
