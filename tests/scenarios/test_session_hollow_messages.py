"""Messages that every codec takes, in which a liar left out what should be there, or put in far too much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest
from protocols.sessions import dealing, events
from protocols.sessions.bulk_messages import ClusterVector, TotalVector
from protocols.sessions.messages import (
    NO_SOURCE,
    NO_VECTOR,
    Certificate,
    CheckShares,
    Deal,
    Entry,
    Group,
    Held,
    OpeningShare,
    Part,
    Parts,
    Proposal,
    Result,
    Roster,
)
from protocols.sessions.roster_tree import Hidden
from protocols.wire import codec
from protocols.wire.digest import digest
from protocols.wire.envelope import sign_statement
from tests.scenarios.generations_pump import make_session
from tests.sim.test_plans_by_role import Tree
from tools.sim import scale


def hollow(pump, deal):
    """The same dealing with nothing sealed to anybody, well signed."""
    machine = pump.parties[deal.dealing.dealer]
    assembly = machine.succession.latest(deal.dealing.stage)
    sealed = tuple(b"" for _ in deal.sealed)
    empty = replace(deal.dealing, sealed=tuple(digest("sealed share", blob) for blob in sealed))
    signature = sign_statement(machine.keys.signing_seed, "dealing", dealing.dealing_digest(assembly, empty))
    return Deal(replace(empty, signature=signature), sealed, deal.certificate)


def test_a_resharing_with_nothing_sealed_stops_no_adder():
    """It comes alone, so that the longest share that waits has no byte: the adder divided by that."""
    pump, inputs, parts = make_session(size=(7, 2), clusters=1)
    liar = parts["leaf 0"][0]

    def tamper(sender, to, message):
        if isinstance(message, Deal) and message.certificate is not None and sender == liar:
            pump.at(100.5, lambda: pump.inject(sender, to, hollow(pump, message)))
            return None
        return message

    pump.tamper, pump.script = tamper, []
    pump.start()
    pump.run(0.4)
    pump.run()
    assert any("bad" in repr(e) or "inconsistent" in repr(e) for log in pump.events.values() for e in log)
    for outcome in pump.outcomes().values():
        assert isinstance(outcome, events.Opened)
        assert set(outcome.contributors) == set(inputs)


def test_a_roster_in_part_that_has_groups_as_well_is_refused(monkeypatch):
    """From anybody, unsigned: it raised KeyError, and with that ended the part of whoever got it."""
    monkeypatch.setattr(scale, "REGION", 3)
    world = Tree()
    device = next(party for party, role in world.roles.items() if role == "device")
    root = world.plan.root
    hidden = Hidden(world.plan.stages[root].children, None, (Digest(bytes(32)),))
    strange = Group(1500, NO_SOURCE, NO_VECTOR, ())
    roster = replace(Roster(root, 0, (strange,), ()), count=2, hidden=hidden)
    message = Result(Certificate(roster, ()), np.zeros(world.plan.length, dtype=np.uint64), (), ())
    machine = world.machines[device]
    machine.start(0.0)
    with pytest.raises(MalformedMessage):
        machine.receive(0.0, world.plan.initiator, codec.decode(Result, codec.encode(message)))


@pytest.mark.parametrize("message", [TotalVector(NO_VECTOR), ClusterVector(0, NO_VECTOR)])
def test_word_of_masked_vectors_is_refused_where_there_are_none(monkeypatch, message):
    """From anybody: it was looked at by the list of all stages, which an excerpt of a plan does not have."""
    monkeypatch.setattr(scale, "REGION", 3)
    world = Tree()
    machines = [world.machines[party] for party, role in world.roles.items() if role == "device"]
    for machine in machines[:3]:
        machine.start(0.0)
        adder = machine.plan.stages[machine.plan.cluster_of(machine.me)].adders[0]
        with pytest.raises(UnexpectedMessage):
            machine.receive(0.0, adder, message)


class Walked(dict):
    """A table that nobody goes through for each entry of a message."""

    def values(self):
        raise AssertionError("a list of pledges was walked for each new one")


def test_a_long_list_of_receipts_costs_what_its_length_is():
    """Each entry was counted against all that its member had pledged before: seconds for one message."""
    pump, _, parts = make_session(clusters=1, devices=12)
    member, adder = parts["leaf 0"][0], pump.parties[parts["adders leaf 0"][0]]
    adder.start(100.0)
    ledger = adder.posts.adders[0, 0].ledger
    ledger.pledges = Walked()
    entries = [Entry(parts["devices 0"][0], Digest(count.to_bytes(32, "big"))) for count in range(2000)]
    adder.receive(100.0, member, Held(0, 0, tuple(entries), None, None))
    assert len(ledger.pledges) == 2 * 12
    adder.receive(100.0, parts["leaf 0"][1], Held(0, 0, tuple(entries[:3]), None, None))
    assert [len(ledger.pledges[entry.dealing]) for entry in entries[:3]] == [2, 2, 2]


@pytest.mark.parametrize("outsider", ["leaf 0", "adders leaf 0", "spare root", "adders root"])
def test_an_opening_that_nobody_of_the_committee_began_leaves_no_end_in_doubt(outsider):
    """Who has no seat has no share to show; members took its word for it, and gave no ballot."""
    pump, _, parts = make_session(clusters=1)
    root = pump.plan.root
    values = np.zeros(pump.plan.length, dtype=np.uint64)

    def lie():
        for member in parts["root"]:
            pump.inject(parts[outsider][0], member, OpeningShare(root, 0, NO_SOURCE, values))

    pump.tamper = lambda _s, _to, message: None if isinstance(message, CheckShares) else message
    pump.at(110.0, lie)
    pump.start()
    pump.run()
    assert {type(end).__name__ + str(end.definite) for end in pump.outcomes().values()} == {"AbortedTrue"}


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_adder_that_says_that_too_few_contributed_does_not_end_the_session(ranks):
    """Of the root, in office: it shows an empty roster, as it would if nobody had dealt."""
    pump, inputs, parts = make_session(clusters=2)
    liars, root = parts["adders root"][:ranks], pump.plan.root

    def tamper(sender, _to, message):
        if sender in liars and isinstance(message, Part | Parts):
            return None
        if sender in liars and isinstance(message, Proposal) and message.roster.stage == root:
            return Proposal(Roster(root, 0, (), ()), ())
        return message

    pump.tamper = tamper
    for liar in liars:
        for member in parts["root"]:
            pump.inject(liar, member, Proposal(Roster(root, 0, (), ()), ()))
    pump.start()
    pump.run()
    for outcome in pump.outcomes().values():
        assert isinstance(outcome, events.Opened)
        assert set(outcome.contributors) == set(inputs)
