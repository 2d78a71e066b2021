"""Broken builds of a protocol, and the first of some seeds at which the right checker speaks up.

A build is a function that patches the protocol. The seeds of one build share the simulator's memory of what
pure functions gave: all of them run under the same patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

from tools.sim.kinds import AnyScenario
from tools.sim.runner import Failure, run


@dataclass(frozen=True, slots=True)
class Broken:
    """One build, the world that runs it, who must see it, and a seed at which that was so."""

    build: Callable[[pytest.MonkeyPatch], None]
    draw: Callable[[int], AnyScenario]
    checker: str
    seed: int

    def __str__(self) -> str:
        return f"{self.build.__module__.rpartition('_')[2]}-{self.build.__name__}"


class _Caught(Exception):
    pass


def first_caught(broken: Broken, seeds: Iterable[int]) -> int | None:
    """The first of `seeds` at which the build's checker complains."""

    def heard(failure: Failure) -> None:
        if any(violation.startswith(broken.checker) for violation in failure.violations):
            raise _Caught(failure.seed)

    with pytest.MonkeyPatch.context() as patch:
        broken.build(patch)
        try:
            run(map(broken.draw, seeds), heard)
        except _Caught as caught:
            return int(caught.args[0])
    return None
