"""Deliberately broken builds of sessions, one or more for each checker."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

from protocols.arithmetic import field
from protocols.sessions import aborting, adder, collecting, durable, early, opening, party, plan
from protocols.sharing import shamir
from tests.sim.broken_builds import Broken
from tools.sim.scenario import draw


def trusting_opening(patch):
    """The first t+1 shares are taken for the truth."""

    def open_vectors(points, shares, t, xof):
        return shamir.reconstruct(points, shares, t), ()

    patch.setattr(opening, "robust", SimpleNamespace(open_vectors=open_vectors))
    patch.setattr(opening, "bounded", lambda *_: None)


def lenient_minimum(patch):
    """The root votes for a roster of too few sites."""

    def consider(self, sender, proposal):
        self._pending = (sender, proposal)
        return [*self._fetch(sender, proposal), *self._try_vote()]

    patch.setattr(collecting.Member, "_consider", consider)
    honest = party.SessionParty._on_result

    def on_result(self, *arguments):
        object.__setattr__(self.plan.job, "min_sites", 2)
        return honest(self, *arguments)

    patch.setattr(party.SessionParty, "_on_result", on_result)


def forgotten_share(patch):
    """A member adds all shares but one."""

    def total(rows):
        return field.total(rows[1:]) if len(rows) > 1 else field.total(rows)

    patch.setattr(collecting, "field", SimpleNamespace(total=total))


def small_quorum(patch):
    """t+1 votes make a certificate."""
    patch.setattr(plan.Stage, "quorum", property(lambda self: self.threshold + 1))


def hasty_abort(patch):
    """One abort ballot is taken for the end."""
    patch.setattr(aborting, "_is_definite", lambda *given: any(not v.released for v in given[2].values()))


def silent_end(patch):
    """Who gives up tells nobody."""
    honest = party.SessionParty._close

    def close(self, code, reason):
        return honest(self, code, reason)[:1]

    patch.setattr(party.SessionParty, "_close", close)


def kept_shares(patch):
    """Nothing is erased."""
    patch.setattr(collecting.Member, "erase", lambda self: None)


def gullible_adder(patch):
    """Every complaint is upheld."""
    patch.setattr(adder, "uphold", lambda *_: True)


def no_deadline(patch):
    """The session's own time is forgotten."""
    honest = party.SessionParty.deadline.fget

    def deadline(self):
        due = honest(self)
        return None if due == self._ends else due

    patch.setattr(party.SessionParty, "deadline", property(deadline))


def no_quota(patch):
    """Early messages of one sender are kept without end."""
    patch.setattr(early, "MAX_EACH", 10**9)


def another_life(patch):
    """A party that comes back has drawn new random numbers."""
    honest = durable.DurableParty.restore.__func__

    def restore(cls, keys, records, now, elapsed_s):
        reborn = [dataclasses.replace(records[0], seed=bytes(31) + b"r"), *records[1:]]
        return honest(cls, keys, reborn, now, elapsed_s)

    patch.setattr(durable.DurableParty, "restore", classmethod(restore))


def long_reasons(patch):
    """Why a party aborts is told at any length."""
    honest = aborting.cast

    def cast(plan, keys, vote):
        return honest(plan, keys, dataclasses.replace(vote, reason=vote.reason.ljust(600)))

    patch.setattr(aborting, "cast", cast)


def hasty_count(patch):
    """An adder counts ballots before it has proposed anything."""

    def on_vote(self, _now, sender, message):
        return self._count(message.ballot, self._member(sender), message.roster)

    patch.setattr(adder.Adder, "_on_vote", on_vote)


BUILDS = [
    Broken(trusting_opening, draw, "right total", 189),
    Broken(lenient_minimum, draw, "right total", 23),
    Broken(forgotten_share, draw, "right total", 0),
    Broken(small_quorum, draw, "one roster", 106),
    Broken(hasty_abort, draw, "one roster", 108),
    Broken(silent_end, draw, "certain end", 72),
    Broken(kept_shares, draw, "few shares", 0),
    Broken(gullible_adder, draw, "honest blameless", 106),
    Broken(another_life, draw, "one voice", 21),
    Broken(no_deadline, draw, "ends", 22),
    Broken(no_quota, draw, "bounded memory", 71),
    Broken(long_reasons, draw, "codec", 96),
    Broken(hasty_count, draw, "raised", 151),
]
