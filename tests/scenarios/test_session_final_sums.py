"""Members leave after their stage's final roster, before the stage above has counted it: the sum moves on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.errors import LocalMisuse, MalformedMessage, ProtocolError
from protocols.sessions import collecting, events, party
from protocols.sessions.assembly import first_generation
from protocols.sessions.handing import Handovers
from protocols.sessions.handover import HandoverProposer, HandoverVoter, check_handover, successor_seats
from protocols.sessions.messages import (
    Certificate,
    Deal,
    Handover,
    HandoverCertificate,
    HandoverProposal,
    HandoverVote,
    OpeningShare,
    Proposal,
)
from protocols.sessions.roster import roster_digest
from tests.scenarios.generations_pump import ScriptedCrashPump, make_session, make_tree
from tests.scenarios.test_session_generations import check_total, generations
from tools.sim.stand_ins import fast_crypto


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


STAGES = [("leaf 0", 0, 2), ("middle", 2, 3)]
LONG = {"collect_ms": 40_000, "total_ms": 90_000}
LEAF, MIDDLE, ROOT = 0, 2, 3


def two_leave(**options):
    """Two members of leaf 0 leave while nothing comes through to the stage above."""
    pump, inputs, parts = make_session(middle=True, **LONG, **options)
    pump.hold_up(MIDDLE, 110.0)
    pump.at(101.0, lambda: pump.kill(parts["leaf 0"][1]))
    pump.at(103.0, lambda: pump.kill(parts["leaf 0"][2]))
    return pump, inputs, parts


@pytest.mark.parametrize(("name", "stage", "above"), STAGES)
@pytest.mark.parametrize("size", [(4, 1), (7, 2)])
def test_n_minus_t_minus_one_members_leave_one_after_another(name, stage, above, size):
    pump, inputs, parts = make_session(middle=True, size=size, **LONG)
    n, t = size
    pump.hold_up(above, 120.0)
    for turn in range(n - t - 1):
        pump.at(101.0 + 1.5 * turn, lambda turn=turn: pump.kill(parts[name][turn]))
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    assert generations(pump, stage) == n - t


def test_without_a_handover_the_cluster_would_be_lost(monkeypatch):
    monkeypatch.setattr(Handovers, "advance", lambda *_: [])
    pump, inputs, parts = two_leave()
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs, missing=parts["devices 0"])


def test_the_contributors_stay_those_that_were_certified():
    pump, inputs, _ = two_leave()
    rosters = {}

    def look(sender, to, message):
        if isinstance(message, Certificate) and message.roster.stage == LEAF:
            rosters.setdefault(message.roster.generation, set()).add(message.roster)

    pump.hooks.append(look)
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    (first,), (second,), (third,) = (rosters[generation] for generation in range(3))
    assert first.contributors == second.contributors == third.contributors
    assert [group.source for group in second.groups] == [roster_digest(pump.plan.session, first)]
    assert [group.source for group in third.groups] == [roster_digest(pump.plan.session, second)]


def test_old_members_erase_as_soon_as_the_next_generation_is_certified():
    pump, inputs, parts = two_leave()
    seen = []

    def look(sender, to, message):
        if isinstance(message, Deal) and message.dealing.stage == MIDDLE and pump.now >= 110.0:
            olds = [
                pump.parties[who]._members[LEAF, generation]
                for who in parts["leaf 0"]
                if who not in pump.dead
                for generation in range(2)
            ]
            seen.append(all(old.erased and old.sum is None and not old._held for old in olds))

    pump.hooks.append(look)
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    assert seen
    assert all(seen)


def test_a_member_that_lies_as_it_hands_over_is_named_and_changes_nothing(monkeypatch):
    pump, inputs, parts = two_leave(size=(7, 2))
    liar, honest = parts["leaf 0"][4], party.reshare

    def reshare(keys, seed, member, target):
        if keys.party == liar and target.stage == LEAF and target.generation == 1:
            member.sum = field.add(member.sum, field.as_elements(np.ones(member.sum.size, dtype=np.int64)))
        return honest(keys, seed, member, target)

    monkeypatch.setattr(party, "reshare", reshare)
    pump.start()
    pump.run(200.0)
    expected = field.total(np.stack(list(inputs.values())))
    assert all(np.array_equal(outcome.total, expected) for outcome in pump.outcomes().values())
    assert pump.named() == pump.named(proven=False) == {liar}


@pytest.mark.parametrize("first", ["old", "new"])
def test_shares_of_both_generations_arrive_above_and_one_of_them_counts(first):
    """Who was thought lost is there, and its dealings, too; whichever is complete first is taken, whole."""
    pump, inputs, _ = two_leave()
    kept = {"old": [], "new": []}

    def tamper(sender, to, message):
        if isinstance(message, Deal) and message.dealing.stage == MIDDLE and message.certificate is not None:
            roster = message.certificate.roster
            if roster.stage == LEAF and pump.now < 109.0:
                kept["new" if roster.generation else "old"].append((sender, to, message))
                return None
        return message

    def release(which):
        for sender, to, message in kept[which]:
            pump.dead.discard(sender)
            pump.queue.append((sender, to, message))

    pump.late_until = 0.0
    pump.tamper = tamper
    pump.at(111.0, lambda: release(first))
    pump.at(111.5, lambda: release("new" if first == "old" else "old"))
    taken = set()

    def look(sender, to, message):
        if isinstance(message, Certificate) and message.roster.stage == MIDDLE:
            taken.update(group.source for group in message.roster.groups if group.child == LEAF)

    pump.hooks.append(look)
    pump.start()
    pump.run(200.0)
    assert kept["old"]
    assert kept["new"]
    total = field.total(np.stack(list(inputs.values())))
    opened = [outcome for outcome in pump.outcomes().values() if isinstance(outcome, events.Opened)]
    assert opened
    assert all(np.array_equal(outcome.total, total) for outcome in opened)
    assert len(taken) == 1
    assert not pump.named()


def test_no_roster_mixes_generations_or_lists_one_that_was_replaced():
    """Not even if the adder above, and the member that was replaced, work together."""
    pump, _, parts = two_leave()
    tried = []

    def tamper(sender, to, message):
        if isinstance(message, Proposal) and message.roster.stage == MIDDLE:
            return replace(message, roster=mixed(message.roster))
        return message

    def mixed(roster):
        groups = list(roster.groups)
        place = next(i for i, group in enumerate(groups) if group.child == LEAF)
        group = groups[place]
        old = parts["leaf 0"][1]
        entries = [entry for entry in group.entries if entry.dealer in parts["leaf 0"]][:2]
        entries.append(replace(group.entries[0], dealer=old))
        groups[place] = replace(group, entries=tuple(sorted(entries, key=lambda entry: entry.dealer)))
        tried.append(groups[place])
        return replace(roster, groups=tuple(groups))

    pump.tamper = tamper
    certified = []
    pump.hooks.append(
        lambda sender, to, message: (
            certified.append(message)
            if isinstance(message, Certificate) and message.roster.stage == MIDDLE
            else None
        )
    )
    pump.start()
    pump.run(200.0)
    assert tried
    assert any("others than who certified" in str(error) for _, _, error in pump.errors)
    assert not any(group in tried for c in certified for group in c.roster.groups)


def test_certificates_and_ballots_of_an_earlier_generation_are_worth_nothing_in_the_next():
    pump, inputs, parts = two_leave()
    old = {}

    def look(sender, to, message):
        if isinstance(message, HandoverCertificate) and message.handover.generation == 0:
            old["certificate"] = message
        if isinstance(message, HandoverVote) and message.generation == 0:
            old.setdefault("votes", []).append((sender, to, message))

    def replay():
        for who in pump.parties:
            if who not in pump.dead:
                pump.inject(parts["adders leaf 0"][2], who, old["certificate"])
                pump.inject(parts["adders leaf 0"][2], who, HandoverProposal(old["certificate"].handover))
        for sender, to, message in old["votes"]:
            pump.inject(sender, to, message)

    pump.hooks.append(look)
    pump.at(106.0, replay)
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    assert generations(pump, LEAF) == 3
    chain = pump.parties[parts["middle"][0]].succession.of(LEAF)
    moved = replace(old["certificate"], handover=Handover(LEAF, 1, old["certificate"].handover.seats))
    with pytest.raises(MalformedMessage):
        check_handover(chain[1], moved)


def test_a_certificate_that_passed_for_one_generation_is_judged_anew_for_each_other():
    """Roles of a party share the verdict on its ballots: of one and the same generation only."""
    pump, inputs, parts = two_leave()
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    above = pump.parties[parts["adders middle"][0]]
    chain = above.succession.of(LEAF)
    learned = above.posts.adders[MIDDLE, 0].ledger.learned.values()
    passed = {c.roster.generation: c for c in learned if c.roster.stage == LEAF}
    assert len(passed) >= 2
    for generation, certificate in passed.items():
        collecting.roster.check_certificate(chain[generation], certificate)
        for other in (one for one in chain if one.generation != generation):
            with pytest.raises(MalformedMessage):
                collecting.roster.check_certificate(other, certificate)
            moved = replace(certificate, roster=replace(certificate.roster, generation=other.generation))
            with pytest.raises(MalformedMessage):
                collecting.roster.check_certificate(other, moved)


def test_a_handover_below_the_root_is_no_agreement_to_an_end_of_the_roots():
    pump, inputs, _ = two_leave()
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    voters = [machine for machine in pump.parties.values() if machine.handovers.agreed(LEAF)]
    assert {machine.handovers.agreed(LEAF) for machine in voters} == {1, 2}
    assert not any(machine.root.agreed for machine in pump.parties.values())


def test_nobody_is_moved_to_another_seat():
    """Points are those of seats: who sat elsewhere before would be taken for another point."""
    pump, _, parts = two_leave()
    pump.start()
    pump.run(200.0)
    chain = pump.parties[parts["middle"][0]].succession.of(LEAF)
    seats = list(chain[1].seats)
    spare = next(s for s in chain[1].blueprint.substitutes if s not in seats)
    place = next(i for i, s in enumerate(seats) if s in chain[1].blueprint.substitutes)
    seats[0], seats[place] = seats[place], spare
    adder = pump.parties[parts["adders leaf 0"][0]]
    with pytest.raises(ProtocolError, match="another seat"):
        collecting.roster.check_seats(chain[1], tuple(seats))
    assert adder.outcome is not None


def test_an_adder_takes_over_a_handover_that_some_have_voted_for():
    """The next rank sees two seats vacant, its voters one: it proposes what they voted for."""
    pump, inputs, parts = make_session(middle=True, size=(7, 2), **LONG)
    pump.hold_up(MIDDLE, 112.0)
    adder, members = parts["adders leaf 0"][0], parts["leaf 0"]
    heard = []

    def tamper(sender, to, message):
        if isinstance(message, HandoverVote) and to == adder:
            return None  # they never arrive
        if isinstance(message, HandoverProposal) and sender == adder:
            heard.append(to)
            return message if len(heard) < 3 else None
        return message

    pump.tamper = tamper
    pump.at(101.0, lambda: pump.kill(members[1]))
    pump.at(104.0, lambda: pump.kill(members[2]))
    pump.at(104.0, lambda: pump.kill(adder))
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    assert generations(pump, LEAF) >= 2


def test_a_ballot_that_comes_before_what_it_is_for_counts_and_blames_nobody():
    """Links keep no order: a member tells an adder what it voted for, and its ballot comes first."""
    plan, keys, parts = make_tree()
    assembly, leaf = first_generation(plan, LEAF), parts["leaf 0"]
    theirs = Handover(LEAF, 0, successor_seats(assembly, frozenset({leaf[1]})))
    proposer = HandoverProposer(assembly, None)
    assert proposer.propose(frozenset(leaf[1:3]))
    for key in (key for key in keys if key.party in leaf and key.party != leaf[1]):
        voter = HandoverVoter(assembly, key)
        *_, cast = voter.receive(assembly.adders[1], HandoverProposal(theirs), frozenset({leaf[1]}))
        assert not proposer.receive(key.party, cast.message)
    assert proposer.certificate is None
    assert proposer.learn(leaf[0], theirs)
    assert proposer.certificate.handover == theirs
    assert len(proposer.certificate.ballots) == assembly.quorum


def test_a_stage_is_refilled_while_the_one_below_hands_over():
    pump, inputs, parts = two_leave()
    pump.hold_up(MIDDLE, 115.0)
    pump.at(104.0, lambda: pump.kill(parts["middle"][0]))
    pump.at(108.5, lambda: pump.kill(parts["middle"][3]))
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    assert generations(pump, LEAF) == 3
    assert generations(pump, MIDDLE) == 3


class AbstainingPump(ScriptedCrashPump):
    """Who crashes after it has erased what it handed over takes no part in the session any more."""

    def come_back(self, party):
        try:
            super().come_back(party)
        except LocalMisuse:
            self.dead.add(party)


@pytest.mark.parametrize("role", ["adders leaf 0", "leaf 0", "spare leaf 0", "root"])
def test_a_crash_at_any_effect_of_a_handover_costs_nothing(role):
    """Between ballot and erasure, too."""

    def session(crashes):
        pump, inputs, parts = make_session(
            pump_type=AbstainingPump, clusters=1, devices=3, size=(7, 2), spare=2, crashes=crashes, **LONG
        )
        pump.hold_up(1, 105.0)
        pump.at(101.0, lambda: pump.kill(parts["leaf 0"][1]))
        return pump, inputs, parts

    pump, inputs, parts = session({})
    begun = {}
    pump.at(100.9, lambda: begun.update(pump.effects))
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    who = parts[role][0]
    stride = max(1, (pump.effects[who] - begun[who]) // 3)
    for turn, effect in enumerate(range(begun[who] + 1, pump.effects[who] + 1, stride)):
        crashed, inputs, _ = session({(who, effect): [(0, 0), (99, 40)][turn % 2]})
        crashed.start()
        crashed.run(200.0)
        assert not crashed.sayings.contradictions, effect
        check_total(crashed, inputs)


def test_the_root_opens_once():
    pump, inputs, _ = two_leave()
    opened = set()
    pump.hooks.append(
        lambda sender, to, m: opened.add((m.generation, m.roster)) if isinstance(m, OpeningShare) else None
    )
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    assert len(opened) == 1
    assert first_generation(pump.plan, ROOT).generation == 0
