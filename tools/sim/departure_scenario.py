"""Departures: members and adders of committees leave one session for good, one after another.

What is promised: of one committee n - t - 1 members may leave while a session lasts if a refill or a handover
can finish between two of them, and as many at one moment as the code has slack, n - q. Here the session lasts
as long as a device's dealing, or every dealing to the root, is under way: until `release_s`.

Enough time between two turns. Whoever leaves does so within SPREAD_S of the turn's beginning. Each loss is
noticed after NOTICED_S at most, by everybody NOTICE_SPREAD_S later. The adder in office, which may have come
into office by the same turn, waits REFILL_WAIT_S for who might be back, and TAKE_OVER_S longer for sums that
are under way. Proposal, ballots, certificate, dealings, parts and what members hold of them, the next roster
and its certificate take MESSAGES latencies; of who reshared and is not yet missed, GRACE_S. A handover at the
root waits for nothing of this, and is due within HANDOVER_WAIT_S, less than all that. So each turn finds
all its seats filled, and takes at most n - q of them.

Nobody is missed without being gone, nobody lies, at least one adder of each stage and two devices stay. So
all who stay must open, and every device that stays must be counted (`departure_world`).

Invariant: equal seeds give equal scenarios, in every process. Whoever leaves sat in the committee then, if
each refill before took the next substitutes; at most n - t - 1 leave each committee.

Symbols: n seats, t threshold, q quorum.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from protocols.sessions.adder import TAKE_OVER_S
from protocols.sessions.handover import REFILL_WAIT_S
from protocols.sessions.ledger import GRACE_S
from tools.sim.faults import NOTICE_SPREAD_S
from tools.sim.scenario import Crash, Scenario

SPREAD_S: Final = 0.8
NOTICED_S: Final = 1.0
MESSAGES: Final = 10
COLLECT_S: Final = 60.0
"""Longer than any release: nothing is cut off by the end of collecting."""
MAX_TURNS: Final = 5
ADDERS: Final = 3


@dataclass(frozen=True, slots=True)
class DepartureScenario(Scenario):
    """Committees that share nobody; dealings of `late` devices, and all to the root if it is `held_up`,
    arrive after `release_s`. `apart`: adders hold no seat.
    """

    apart: bool = True
    late: tuple[int, ...] = ()
    held_up: bool = False
    release_s: float = 0.0


@dataclass(slots=True)
class Committee:
    """One stage: indices of parties, `seats` and `spare` as refills leave them; `left` counts members."""

    seats: list[int]
    spare: list[int]
    adders: list[int]
    left: int = 0

    def may_leave(self, index: int) -> bool:
        """One adder stays."""
        return self.adders != [index]

    def leave(self, index: int) -> None:
        """Who leaves is no adder any more, and in its seat sits the next substitute."""
        self.adders = [adder for adder in self.adders if adder != index]
        if index in self.seats:
            self.left += 1
            self.seats[self.seats.index(index)] = self.spare.pop(0)


def committees_of(
    size: tuple[int, int], clusters: int, spare: int, devices: int, apart: bool
) -> list[Committee]:
    """The clusters' and the root's, after the initiator, party 0, and the devices."""
    made, first = [], 1 + devices
    for _ in range(clusters + 1):
        seats = list(range(first, first + size[0]))
        others = list(range(seats[-1] + 1, seats[-1] + 1 + spare))
        first = others[-1] + 1
        adders = list(range(first, first + ADDERS)) if apart else seats[1 : 1 + ADDERS]
        first += ADDERS if apart else 0
        made.append(Committee(seats, others, adders))
    return made


def draw(seed: int) -> DepartureScenario:
    """The scenario of `seed`."""
    dice = random.Random(seed)
    size = dice.choice([(4, 1), (4, 1), (7, 2)])
    clusters, apart = dice.choice([0, 1, 2]), dice.random() < 0.6
    devices = dice.randint(3, 4) if clusters < 2 else dice.randint(4, 6)
    latency_s = dice.choice([(0.001, 0.005), (0.001, 0.03), (0.01, 0.1)])
    spare = size[0] - size[1]
    crashes, last_s = _turns(dice, committees_of(size, clusters, spare, devices, apart), size, latency_s[1])
    release_s = last_s + (dice.uniform(-0.5, 2.5) if dice.random() < 0.5 else recovery_s(latency_s[1]))
    held_up = clusters > 0 and dice.random() < 0.5
    late = () if held_up and dice.random() < 0.7 else (dice.randint(1, devices),)
    leaving = [index for index in range(1, 1 + devices) if index not in late]
    if dice.random() < 0.3:
        crashes.append(_crash(dice, dice.choice(leaving), dice.uniform(0, release_s)))
    return DepartureScenario(
        seed,
        size=size,
        clusters=clusters,
        spare=spare,
        devices=devices,
        collect_s=COLLECT_S,
        total_s=2.5 * COLLECT_S,
        latency_s=latency_s,
        in_order=dice.random() < 0.7,
        skew=dice.choice([0.0, 0.001]),
        crashes=tuple(crashes),
        by_role=clusters == 2 and dice.random() < 0.5,
        apart=apart,
        late=late,
        held_up=held_up,
        release_s=release_s,
    )


def recovery_s(latency_s: float) -> float:
    """From the beginning of a turn until all its seats are filled again; see above."""
    noticed_s = SPREAD_S + NOTICED_S + NOTICE_SPREAD_S
    return noticed_s + REFILL_WAIT_S + TAKE_OVER_S + GRACE_S + MESSAGES * latency_s


def _turns(
    dice: random.Random, committees: list[Committee], size: tuple[int, int], latency_s: float
) -> tuple[list[Crash], float]:
    """Who leaves and when, and when the last turn begins. Most leave one committee."""
    focus = dice.choice(committees)
    now_s = dice.choice([dice.uniform(0.0, 0.3), dice.uniform(0.3, 2.0)])
    crashes, last_s = [], now_s
    for _ in range(dice.choice([1, 2, MAX_TURNS, MAX_TURNS, MAX_TURNS])):
        leavers = _turn(dice, focus if dice.random() < 0.8 else dice.choice(committees), size)
        crashes += [_crash(dice, index, now_s + dice.uniform(0, SPREAD_S)) for index in leavers]
        if leavers:
            last_s = now_s
            now_s += recovery_s(latency_s) * dice.uniform(1.0, 1.2)
    return crashes, last_s


def _turn(dice: random.Random, committee: Committee, size: tuple[int, int]) -> list[int]:
    n, t = size
    slack, seated, leavers = n - ((n + t) // 2 + 1), list(committee.seats), []
    for _ in range(min(dice.choice([1, 1, slack]), n - t - 1 - committee.left)):
        there = [seat for seat in seated if seat not in leavers and committee.may_leave(seat)]
        leavers.append(dice.choice(there))
        committee.leave(leavers[-1])
    first = committee.adders[0]
    if first not in committee.seats and committee.may_leave(first) and dice.random() < 0.3:
        committee.leave(first)
        leavers.append(first)
    return leavers


def _crash(dice: random.Random, index: int, at_s: float) -> Crash:
    """It never comes back."""
    return Crash(index, at_s, at_s + dice.uniform(0.2, NOTICED_S), -1.0, in_step=dice.random() < 0.3)
