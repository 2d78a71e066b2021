"""Who declines a plan gives a ballot that proves it, and does not change its mind, after a restart either."""

from __future__ import annotations

import pytest

from mesh.runtime.journal import Journal
from mesh.runtime.refusals import Refusals
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.aborting import check_proof, seatable
from protocols.sessions.messages import AbortProof, Decline
from tests.scenarios.pump import make_keys, make_plan

KEYS = make_keys(8)
PLAN = make_plan(KEYS, length=2, size=(4, 1))
ROOT = PLAN.stages[PLAN.root]
BY_PARTY = {key.party: key for key in KEYS}


class Postman:
    """Remembers what it was given."""

    def __init__(self, journal):
        self.said = []
        self._journal = journal

    def post(self, to, message, *, session, **_):
        known = self._journal.knows(session)
        self.said += [(party, message, known) for party in to]


async def refusing(path, nursery, party):
    journal = Journal(path / party.hex())
    await nursery.start(journal.run)
    postman = Postman(journal)
    return Refusals(BY_PARTY[party], journal, postman), postman


def ballots(postman):
    return [(message, known) for _, message, known in postman.said if isinstance(message, AbortVote)]


async def test_refusals_prove_that_nothing_was_opened(tmp_path, nursery):
    votes = []
    for member in ROOT.members[:3]:
        refusals, postman = await refusing(tmp_path, nursery, member)
        assert not await refusals.is_known(PLAN)
        await refusals.refuse(PLAN, "another view")
        told = {party for party, message, _ in postman.said if isinstance(message, AbortVote)}
        assert told == {PLAN.initiator, *seatable(PLAN)} - {member}
        assert all(known for _, known in ballots(postman)), "the promise is in the journal before it is given"
        votes.append(ballots(postman)[0][0])
    check_proof(PLAN, AbortProof(tuple(votes)))


async def test_a_refused_plan_is_not_judged_anew(tmp_path, nursery):
    member = ROOT.members[0]
    refusals, _ = await refusing(tmp_path, nursery, member)
    await refusals.refuse(PLAN, "another view")
    again, postman = await refusing(tmp_path, nursery, member)
    assert await again.is_known(PLAN)
    assert any(isinstance(message, Decline) for _, message, _ in postman.said)
    assert ballots(postman)


@pytest.mark.parametrize("seat", range(4))
async def test_who_is_only_too_busy_promises_nothing(tmp_path, nursery, seat):
    refusals, postman = await refusing(tmp_path, nursery, ROOT.members[seat])
    refusals.decline(PLAN, "too much is going on")
    assert not ballots(postman)
    assert not await refusals.is_known(PLAN)
