"""Deliberately broken builds of programs, one or more for each checker."""

from __future__ import annotations

import dataclasses

import numpy as np

from protocols.engine import checked, pieces
from protocols.programs import computing, initiator, member, start, voting
from protocols.programs.messages import Attempt
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


def uncounted_attempts(patch):
    """The asker gives every attempt one number, and members take a number more than once."""
    patch.setattr(initiator, "Attempt", lambda generation, _, *rest: Attempt(generation, 1, *rest))
    honest = computing.Computing.begin

    def begin(self, now, attempt):
        self.attempt = None
        return honest(self, now, attempt)

    patch.setattr(computing.Computing, "begin", begin)


def moving_start(patch):
    """A member keeps, as the start that was certified, one with the number of its last attempt."""
    patch.setattr(start, "is_valid", lambda *_: True)
    honest = member.Member._attempt

    def of_attempt(self, now, attempt, before=None):
        certified = self.certificate.start
        latest = dataclasses.replace(certified.attempt, number=attempt.number)
        self.certificate = dataclasses.replace(
            self.certificate, start=dataclasses.replace(certified, attempt=latest)
        )
        return honest(self, now, attempt, before)

    patch.setattr(member.Member, "_attempt", of_attempt)


BUILDS = [
    Broken(no_deadline, draw, "ends", 1),
    Broken(unchecked_openings, draw, "right outputs", 4),
    Broken(suspicious_members, draw, "blameless", 0),
    Broken(uncounted_attempts, draw, "one voice", 6),
    Broken(moving_start, draw, "one start", 29),
]
