"""Storms: parties of one session crash, or lose all their links, again and again, and always come back.

As `tools.chaos storm` does it to real processes, a thousand times as often. Nobody lies and nothing else goes
wrong, so once the storm is over whoever asked has to know how the session ended (checker "certain end"), and
most sessions open.

Invariant: equal seeds give equal scenarios, in every process; two faults of one party do not overlap, and the
others have noticed each before the next one.
"""

from __future__ import annotations

import random
from typing import Final

from tools.sim.faults import CUT_NOTICE_S, NOTICE_SPREAD_S
from tools.sim.scenario import Crash, Cut, Scenario

LAST_S: Final = 11.0
"""No fault begins later: all are back while those whose time is over, after 12 s, may still wait for news."""
EARLY_S: Final = 0.2
"""Most messages fly before this moment, in a session without faults."""


def draw(seed: int) -> Scenario:
    """The scenario of `seed`."""
    dice = random.Random(seed)
    size = dice.choice([(4, 1), (4, 1), (7, 2)])
    parties = size[0] + (1 if size[0] == 7 else 2)
    crashes, cuts = _faults(dice, parties)
    return Scenario(
        seed,
        size=size,
        clusters=dice.choice([0, 1, 2]),
        spare=parties - size[0],
        devices=dice.randint(3, parties),
        latency_s=dice.choice([(0.001, 0.03), (0.001, 0.005), (0.005, 0.1)]),
        crashes=crashes,
        cuts=cuts,
    )


def _faults(dice: random.Random, parties: int) -> tuple[tuple[Crash, ...], tuple[Cut, ...]]:
    every_s, until_s = dice.choice([0.4, 0.7, 1.5, 3.0]), dice.choice([1.0, 3.0, 8.0, LAST_S])
    crashes = [Crash(dice.randrange(parties), dice.uniform(0, EARLY_S), 0.8, 1.5, True)]
    cuts: list[Cut] = []
    busy_until = dict.fromkeys(range(parties), 0.0) | {crashes[0].index: 2.0}
    now_s = 0.0
    while True:
        early = now_s < EARLY_S and dice.random() < 0.7
        now_s += dice.uniform(0, EARLY_S) if early else dice.expovariate(1 / every_s)
        index = dice.randrange(parties)
        if now_s > until_s:
            return tuple(crashes), tuple(cuts)
        if busy_until[index] > now_s:
            continue
        if dice.random() < 0.3:
            end_s = now_s + CUT_NOTICE_S + dice.uniform(1.5, 4.0)
            cuts.append(Cut((index,), now_s, end_s, noticed=True))
        else:
            noticed_s = now_s + dice.choice([dice.uniform(0.05, 1.0), dice.uniform(1.5, 3.0)])
            end_s = max(now_s + dice.uniform(0.6, 4.0), noticed_s + NOTICE_SPREAD_S)
            crashes.append(Crash(index, now_s, noticed_s, end_s, True, dice.random() < 0.5))
        busy_until[index] = end_s + NOTICE_SPREAD_S
