"""Deliberately broken builds of programs, one or more for each checker."""

from __future__ import annotations

import numpy as np

from protocols.engine import checked, pieces
from protocols.programs import voting
from protocols.programs.party import ProgramParty
from tests.sim.broken_builds import Broken
from tools.sim.program_world import draw


def no_deadline(patch):
    """The session's own time is forgotten."""
    honest = ProgramParty.deadline.fget

    def deadline(self):
        due = honest(self)
        return None if due == self._ends else due

    patch.setattr(ProgramParty, "deadline", property(deadline))


def unchecked_openings(patch):
    """Opened shares are taken for the truth, and confirmed, whatever surplus shares say."""
    honest = checked._rows

    def rows(points, degree):
        denominator, at_zero, _ = honest(points, degree)
        return denominator, at_zero, ()

    patch.setattr(checked, "_rows", rows)
    digest = pieces._digest
    patch.setattr(pieces, "_digest", lambda held, vouched: np.zeros_like(digest(held, vouched)))


def suspicious_members(patch):
    """Every ballot is called forged."""
    patch.setattr(voting, "is_valid", lambda *_: False)


BUILDS = [
    Broken(no_deadline, draw, "ends", 1),
    Broken(unchecked_openings, draw, "right outputs", 4),
    Broken(suspicious_members, draw, "blameless", 0),
]
