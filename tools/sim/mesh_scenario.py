"""What one simulated mesh looks like and what goes wrong in it: members, epochs, no data; drawn from a seed.

Faults strike until `stop_s`; then messages are no longer lost, cuts are healed, whoever is to come back is
back, and the mesh has until `total_s` to agree again. Liars never exceed what the first full electorate
outvotes; where departures make an electorate so small that they do, checkers of agreement stop asking.

Invariant: equal seeds give equal scenarios, in every process.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

STOP_S: Final = 50.0
TOTAL_S: Final = 165.0
"""Who was told of a member that had gone, by one that could not know, sees it after three renewals."""
MESH_BEHAVIOURS: Final = (
    "silent", "two-faced", "slander", "replay", "mutate", "fork", "far-rounds", "late",
)  # fmt: skip
"""Names of what lying members do; see `mesh_liars`."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Member `index` is gone from `at_s` to `back_s` (for good if negative): it crashed, or said goodbye.

    A crashed member comes back from its journal, whose last records may be torn off; its clock may have
    been set by `shift_s`.
    """

    index: int
    at_s: float
    back_s: float
    polite: bool
    torn: bool
    shift_s: float


@dataclass(frozen=True, slots=True)
class MeshCut:
    """No link works between `side` and the rest from `start_s` to `end_s`."""

    side: tuple[int, ...]
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class MeshScenario:
    """One mesh and its faults; indices count the members, 0 is the founder and operator, and never lies."""

    seed: int
    members: int = 5
    plain: tuple[int, ...] = ()
    """Members that are no gateways."""
    joins_s: tuple[float, ...] = ()
    """When each member asks to join; the founder is there from the start."""
    missing: tuple[tuple[int, int], ...] = ()
    """Pairs that never have a direct link."""
    epoch_s: float = 600.0
    latency_s: tuple[float, float] = (0.001, 0.01)
    loss: float = 0.0
    duplicate: float = 0.0
    in_order: bool = True
    clocks_s: tuple[float, ...] = ()
    """How far each member's clock is off."""
    absences: tuple[Absence, ...] = ()
    cuts: tuple[MeshCut, ...] = ()
    byzantine: tuple[tuple[int, str], ...] = ()

    @property
    def faults(self) -> int:
        """How many faults of all kinds it contains; a loss rate counts as one."""
        kinds = (self.loss, self.duplicate, not self.in_order, any(self.clocks_s))
        return sum(bool(kind) for kind in kinds) + sum(
            len(items) for items in (self.missing, self.absences, self.cuts, self.byzantine)
        )


CALM: Final = MeshScenario(0, joins_s=(0.0, 1.0, 1.5, 2.0, 2.5))
"""Five members and no faults."""


def draw(seed: int) -> MeshScenario:
    """The scenario of `seed`."""
    dice = random.Random(seed ^ 0x3E5)
    members = dice.choices([3, 4, 5, 6, 7], [2, 5, 5, 2, 2])[0]
    chance = dice.random
    clean = chance() < 0.08
    others = range(1, members)
    joins = (0.0, *(dice.uniform(0.0, 40.0 if chance() < 0.15 else 4.0) for _ in others))
    if clean:
        return MeshScenario(seed, members, joins_s=joins)
    cuts: tuple[MeshCut, ...] = ()
    if chance() < 0.4:
        start = dice.uniform(5.0, STOP_S - 5.0)
        side = tuple(sorted(dice.sample(range(members), dice.randint(1, members // 2))))
        cuts = (MeshCut(side, start, min(STOP_S, start + dice.expovariate(0.1))),)
    liars = _draw_liars(dice, members)
    lying = {index for index, _ in liars}
    joins = tuple(dice.uniform(8.0, 14.0) if i in lying else moment for i, moment in enumerate(joins))
    skewed = dice.choice([0.0, 0.0, 0.5, 20.0])
    return MeshScenario(
        seed,
        members,
        plain=tuple(i for i in others if chance() < 0.1),
        joins_s=joins,
        missing=_draw_missing(dice, members),
        epoch_s=dice.choice([600.0, 600.0, 20.0]),
        latency_s=dice.choice([(0.001, 0.01), (0.02, 0.2), (0.001, 0.8)]),
        loss=dice.choice([0.0, 0.0, 0.02, 0.2]),
        duplicate=dice.choice([0.0, 0.0, 0.1]),
        in_order=chance() < 0.6,
        clocks_s=tuple(dice.uniform(-skewed, skewed) for _ in range(members)),
        absences=(*_draw_absences(dice, members, skewed), *_draw_flaps(seed, members)),
        cuts=cuts,
        byzantine=liars,
    )


def _draw_missing(dice: random.Random, members: int) -> tuple[tuple[int, int], ...]:
    """At most a few, so that the rest hangs together by gossip."""
    if members < 4 or dice.random() < 0.7:
        return ()
    pairs = [(a, b) for b in range(members) for a in range(b)]
    return tuple(sorted(dice.sample(pairs, dice.randint(1, members - 3))))


def _draw_absences(dice: random.Random, members: int, skewed: float) -> tuple[Absence, ...]:
    count = dice.choices([0, 1, 2, 3], [5, 6, 3, 1])[0]
    absences = []
    for index in sorted(dice.sample(range(members), min(count, members - 1))):
        at_s = dice.uniform(3.0, STOP_S - 3.0)
        back = min(STOP_S, at_s + dice.expovariate(0.12)) if dice.random() < 0.7 else -1.0
        polite = dice.random() < 0.25
        shift = dice.uniform(-skewed, skewed) if dice.random() < 0.3 else 0.0
        absences.append(Absence(index, at_s, back, polite, dice.random() < 0.5, shift))
    return tuple(absences)


def _draw_flaps(seed: int, members: int) -> tuple[Absence, ...]:
    """In some meshes members, one after another, go for a moment, of dice of their own."""
    dice = random.Random(seed ^ 0xF1A)
    flaps: list[Absence] = []
    at_s = 20.0
    while dice.random() < 0.3 or flaps:
        back_s = at_s + dice.uniform(0.5, 6.0)
        if back_s >= STOP_S:
            break
        flaps.append(Absence(dice.randrange(members), at_s, back_s, False, dice.random() < 0.2, 0.0))
        at_s = back_s + dice.uniform(0.1, 4.0)
    return tuple(flaps)


def _draw_liars(dice: random.Random, members: int) -> tuple[tuple[int, str], ...]:
    if members < 4 or dice.random() < 0.5:
        return ()
    liars = dice.sample(range(1, members), dice.randint(1, (members - 1) // 3))
    return tuple((i, dice.choice(MESH_BEHAVIOURS)) for i in sorted(liars) for _ in range(dice.randint(1, 2)))
