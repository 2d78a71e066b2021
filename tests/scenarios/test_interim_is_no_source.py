"""An interim roster of a child is no input of the stage above, whoever shows it there first."""

from __future__ import annotations

import pytest

from protocols.errors import UnexpectedMessage
from protocols.sessions.assembly import after_interim, first_generation
from protocols.sessions.collecting import Member
from protocols.sessions.ledger import Ledger
from protocols.sessions.messages import Proposal, Roster
from protocols.sessions.vectors import Vectors
from tests.scenarios.generations_pump import make_session
from tools.sim.stand_ins import fast_crypto

LEAF, MIDDLE = 0, 2


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


@pytest.fixture
def refilled():
    """(pump, parts, certificates of both generations of leaf 0)."""
    pump, _, parts = make_session(middle=True)
    pump.hold_back(parts["devices 0"][:1], 103.5)
    pump.at(101.0, lambda: pump.kill(parts["leaf 0"][1]))
    kept = {}

    def keep():
        adders = pump.parties[parts["adders leaf 0"][0]].posts.adders
        kept.update({slot: adder.certificate for slot, adder in adders.items()})

    pump.at(110.0, keep)
    pump.start()
    pump.run()
    interim, final = kept[LEAF, 0], kept[LEAF, 1]
    assert interim.roster.is_interim
    assert not final.roster.is_interim
    return pump, parts, interim, final


def test_an_adder_keeps_its_place_for_the_final_roster(refilled):
    """A corrupted member of the child shows the interim one before the adder hears that seats changed."""
    pump, _, interim, final = refilled
    ledger = Ledger(first_generation(pump.plan, MIDDLE), Vectors(pump.plan))
    with pytest.raises(UnexpectedMessage, match="interim"):
        ledger.keep(interim)
    ledger.reseat(after_interim(first_generation(pump.plan, LEAF), interim.roster))
    ledger.keep(final)
    assert ledger.certificates[LEAF] == final


def test_a_member_learns_the_final_roster(refilled):
    """Any of eight adders may show members certificates, in office or not."""
    pump, parts, interim, final = refilled
    member = Member(first_generation(pump.plan, MIDDLE), pump.parties[parts["middle"][0]].keys, bytes(32))
    *_, liar = parts["adders middle"]
    empty = Roster(MIDDLE, 0, (), ())
    member.receive(0.0, liar, Proposal(empty, (interim,)))
    member.reseat(0.0, after_interim(first_generation(pump.plan, LEAF), interim.roster))
    member.receive(0.0, liar, Proposal(empty, (final,)))
    assert final in member._known.values()
