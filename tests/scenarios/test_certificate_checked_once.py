"""A certificate that passed is not checked again by the same assembly, and by no other in its place."""

from __future__ import annotations

import dataclasses

import pytest

from protocols.errors import MalformedMessage
from protocols.sessions import roster
from protocols.sessions.assembly import first_generation
from protocols.sessions.messages import NO_SOURCE, NO_VECTOR, Ballot, Certificate, Entry, Group, Roster
from tools.sim.mesh_plan import parties_of, plan_of
from tools.sim.scenario import Scenario


def certified(plan, keys):
    dealers = plan.dealers
    entries = tuple(Entry(dealer, NO_SOURCE) for dealer in dealers)
    rooted = Roster(plan.root, 0, (Group(-1, NO_SOURCE, NO_VECTOR, entries),), dealers)
    subject = roster.roster_digest(plan.session, rooted)
    ballots = tuple(
        roster.cast(keys[seat], seat, roster.ROSTER, subject) for seat in range(plan.stages[plan.root].size)
    )
    return Certificate(rooted, ballots)


def test_a_certificate_is_checked_once_by_each_assembly(monkeypatch):
    scenario = Scenario(1)
    plan, keys = plan_of(scenario), parties_of(scenario)
    certificate, assembly = certified(plan, keys), first_generation(plan, plan.root)
    roster.check_certificate(assembly, certificate)
    asked = []
    honest = roster.is_valid
    monkeypatch.setattr(roster, "is_valid", lambda *words: asked.append(words) or honest(*words))
    roster.check_certificate(assembly, certificate)
    assert not asked
    roster.check_certificate(dataclasses.replace(assembly), certificate)
    assert len(asked) == len(certificate.ballots)


def test_what_failed_or_differs_in_a_ballot_is_checked():
    scenario = Scenario(1)
    plan, keys = plan_of(scenario), parties_of(scenario)
    certificate, assembly = certified(plan, keys), first_generation(plan, plan.root)
    roster.check_certificate(assembly, certificate)
    forged = dataclasses.replace(certificate, ballots=(Ballot(0, bytes(64)), *certificate.ballots[1:]))
    for _ in range(2):
        with pytest.raises(MalformedMessage, match="forged"):
            roster.check_certificate(assembly, forged)
