"""Who declines a plan gives a ballot that proves it, and does not change its mind, after a restart either."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.runtime import journal as journals
from mesh.runtime.journal import Journal
from mesh.runtime.refusals import BALLOTS, Refusals
from protocols.errors import MalformedMessage, Refused
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.aborting import audience, check_proof, seatable
from protocols.sessions.messages import AbortProof, Decline
from tests.scenarios.pump import make_keys, make_plan

KEYS = make_keys(8)
PLAN = make_plan(KEYS, length=2, size=(4, 1))
ROOT = PLAN.stages[PLAN.root]
OTHER_VIEW = Refused("another view", reasons={})
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
        await refusals.refuse(PLAN, OTHER_VIEW)
        told = {party for party, message, _ in postman.said if isinstance(message, AbortVote)}
        assert told == {PLAN.initiator, *seatable(PLAN)} - {member}
        assert all(known for _, known in ballots(postman)), "the promise is in the journal before it is given"
        votes.append(ballots(postman)[0][0])
    check_proof(PLAN, AbortProof(tuple(votes)))


async def test_a_refused_plan_is_not_judged_anew(tmp_path, nursery):
    member = ROOT.members[0]
    refusals, _ = await refusing(tmp_path, nursery, member)
    await refusals.refuse(PLAN, OTHER_VIEW)
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


async def test_who_offers_many_plans_does_not_push_a_promise_out_of_the_journal(
    tmp_path, nursery, monkeypatch
):
    """The plan that was refused first would be judged anew, though the ballot against it is out."""
    monkeypatch.setattr(journals, "KEEP_SESSIONS", 100)
    refusals, postman = await refusing(tmp_path, nursery, ROOT.members[0])
    await refusals.refuse(PLAN, OTHER_VIEW)
    for count in range(150):
        await refusals.refuse(replace(PLAN, nonce=count.to_bytes(8, "big")), OTHER_VIEW)
    assert await refusals.is_known(PLAN)
    given = len({message.pledge.signature for message, _ in ballots(postman)})
    assert given <= BALLOTS, "each ballot is a row in the journal, and goes to all who may sit at the root"


async def test_nothing_is_kept_of_a_plan_in_which_nobody_takes_part(tmp_path, nursery):
    refusals, postman = await refusing(tmp_path, nursery, ROOT.members[0])
    await refusals.refuse(PLAN, MalformedMessage("no planner makes this"))
    assert not ballots(postman)
    assert not await refusals.is_known(PLAN)


async def test_a_plan_that_is_offered_again_and_again_makes_no_flood_of_ballots(tmp_path, nursery):
    refusals, postman = await refusing(tmp_path, nursery, ROOT.members[0])
    await refusals.refuse(PLAN, OTHER_VIEW)
    for _ in range(2 * BALLOTS):
        assert await refusals.is_known(PLAN)
    told = [party for party, message, _ in postman.said if isinstance(message, AbortVote)]
    assert len(told) <= BALLOTS * len(audience(PLAN))
    assert not any(isinstance(message, AbortVote) for _, message, _ in postman.said[-BALLOTS:])
