"""One seed gives one course of events, in every process: nothing hangs on the order of a set of bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools.sim.kinds import KINDS
from tools.sim.runner import simulate

ROOT = Path(__file__).resolve().parents[2]
SEEDS = {
    "": (3, 7, 21, 66),
    "small": (7, 32),
    "storms": (5,),
    "departures": (36,),
    "splices": (3, 11),
    "masked": (4,),
    "mesh": (2,),
    "programs": (5,),
    "vaults": (4,),
}


def courses():
    """The digest of each kind's seeds, trace and all."""
    return [
        f"{kind.option} {seed} {simulate(kind.draw(seed), tracing=True).digest()}"
        for kind in KINDS
        for seed in SEEDS[kind.option]
    ]


def test_one_seed_gives_one_course_of_events_in_every_process():
    salt = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-c", "from tests.sim.test_one_course import courses; print(*courses(), sep='\\n')"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == courses()
