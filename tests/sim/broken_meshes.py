"""Deliberately broken builds of the overlay, one or more for each checker of meshes."""

from __future__ import annotations

import dataclasses
import math

from mesh.overlay import agreement, due, epoch_record, epochs, joining, membership
from mesh.overlay.view import Status
from tests.sim import broken_sessions
from tests.sim.broken_builds import Broken
from tools.sim.mesh_scenario import draw


def small_quorum(patch):
    """As many votes as may be lies, and one more, make a record."""

    def quorum(electorate):
        return epoch_record.faults(electorate) + 1

    patch.setattr(agreement, "quorum", quorum)
    patch.setattr(epoch_record, "quorum", quorum)


def every_candidate(patch):
    """A member prevotes for all candidates that it knows, not for one."""
    honest = agreement.Agreement._prevote

    def _prevote(self, accepts):
        effects = honest(self, accepts)
        cast = self._cast.get((False, self.round))
        others = [record for record in self._candidates if cast is not None and record != cast]
        return [*effects, *(effect for record in others for effect in self._cast_ballot(False, record, None))]

    patch.setattr(agreement.Agreement, "_prevote", _prevote)


def padded_locks(patch):
    """Proofs of lock repeat a vote."""
    honest = agreement.Agreement._polka

    def _polka(self, round_):
        lock = honest(self, round_)
        return lock and dataclasses.replace(lock, prevotes=(*lock.prevotes, lock.prevotes[0]))

    patch.setattr(agreement.Agreement, "_polka", _polka)


def unforgiving(patch):
    """Who was taken for gone stays gone."""
    honest = membership.Membership._set

    def _set(self, now, party, status, why):
        gone = self._entries[party].status is Status.LEFT and status is Status.ALIVE
        return honest(self, now, party, Status.LEFT if gone else status, why)

    patch.setattr(membership.Membership, "_set", _set)


def deaf_followers(patch):
    """Nobody who was away asks for the records it lacks, or is told."""
    patch.setattr(epochs.EpochKeeper, "_on_head", lambda self, sender, head: [])


def endless_rounds(patch):
    """Ballots of whatever round are kept."""
    patch.setattr(agreement, "ROUNDS_AHEAD", 10**9)


def lost_tickets(patch):
    """The operator does not write down what it invites."""
    patch.setattr(joining.TicketBook, "issue", lambda self, now, ticket: None)


def restless(patch):
    """A member wants to look again at once, always."""
    patch.setattr(membership.Membership, "deadline", property(lambda self: 0.0))


def timeless(patch):
    """An epoch ends when gateways come or go, and not by its time."""
    honest = due.Due.at.fget
    patch.setattr(due.Due, "at", property(lambda self: honest(self) if self.is_disturbed else math.inf))


BUILDS = [
    Broken(timeless, draw, "goes on", 20),
    Broken(small_quorum, draw, "one chain", 97),
    Broken(every_candidate, draw, "one voice", 10),
    Broken(padded_locks, draw, "blameless", 13),
    Broken(unforgiving, draw, "converges", 2),
    Broken(deaf_followers, draw, "converges", 1),
    Broken(broken_sessions.forgotten_share, draw, "one beacon", 293),
    Broken(broken_sessions.no_deadline, draw, "ends", 0),
    Broken(endless_rounds, draw, "bounded memory", 190),
    Broken(lost_tickets, draw, "joins", 0),
    Broken(restless, draw, "spins", 0),
]
