"""Adders that lie about the masked total: noticed, named with evidence, replaced; and nobody framed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import MalformedMessage
from protocols.sessions import audit, auditor, events
from protocols.sessions.auditor import AUDIT_WAIT_S
from protocols.sessions.bulk_messages import AdderReplaced, AuditOpen, AuditTag, SumClaim
from protocols.sessions.messages import AuditOpened
from tests.scenarios.bulk_pump import LAYOUT, BulkPump, bulk_plan
from tests.scenarios.pump import make_keys

KEYS = make_keys(10)
PLAN = bulk_plan(KEYS, clusters=1)


def one_stage(plan):
    """A plan whose only cluster is the root: the tree of up to 127 devices."""
    stages = (replace(plan.stages[0], label="root"),)
    return replace(plan, stages=stages, hops=9)


FLAT = one_stage(PLAN)
LIAR, NEXT = FLAT.stages[0].adders[:2]
DEVICE = next(k.party for k in KEYS if k.party not in (*FLAT.stages[0].adders, FLAT.initiator))


def session(plan=FLAT):
    return BulkPump(plan, KEYS)


def run(pump):
    pump.start()
    pump.run()


def lies(pump, party, spoil):
    """`party` stores another vector than the sum, under that vector's own name."""
    store = pump.stores[party]
    honest_add = store.add
    store.add = lambda parts: store.put(spoil(store.packed[honest_add(parts)].copy()))


def shifted(packed):
    """A sum off by 2^g in one coordinate: a value one too high, and no noise to show it."""
    packed[4 * 11 :][:4].view("<u4")[0] += np.uint32(1 << LAYOUT.parameters.scale_bits)
    return packed


def said(pump, kind):
    return [event for event in pump.events[pump.plan.initiator] if isinstance(event, kind)]


def exact(pump):
    sums, _, opened = pump.unmasked(pump.plan.initiator)
    assert np.array_equal(sums, pump.expected(opened))
    return opened


def test_an_honest_sum_passes_with_a_word_of_everybody():
    pump = session()
    tags = []
    pump.hooks.append(lambda sender, to, message: isinstance(message, AuditTag) and tags.append(sender))
    run(pump)
    opened = exact(pump)
    assert set(tags) | {FLAT.initiator} == set(opened.contributors)
    assert [event.phase for event in said(pump, events.Progress) if "audit" in event.phase] == ["audited"]
    assert not pump.named()


@pytest.mark.parametrize("spoil", [shifted, lambda packed: packed[::-1].copy()], ids=["one value", "rubbish"])
def test_a_lying_adder_is_named_and_the_next_one_gives_the_right_total(spoil):
    pump = session()
    lies(pump, LIAR, spoil)
    run(pump)
    exact(pump)
    assert pump.named() == pump.named(proven=True) == {LIAR}
    (refused,) = said(pump, events.SumRefused)
    assert refused.proven
    assert refused.evidence.claim.adder == LIAR


def test_two_lying_adders_are_replaced_one_after_the_other():
    pump = session()
    lies(pump, LIAR, shifted)
    lies(pump, NEXT, shifted)
    run(pump)
    exact(pump)
    assert pump.named(proven=True) == {LIAR, NEXT}


def test_when_all_adders_lie_there_is_no_total():
    pump = session()
    for adder in FLAT.stages[0].adders:
        lies(pump, adder, shifted)
    run(pump)
    assert not said(pump, events.MaskedTotal)
    assert len(said(pump, events.TotalLost)) == 1


def test_the_evidence_convinces_others_and_cannot_be_made_against_an_honest_adder():
    pump = session()
    lies(pump, LIAR, shifted)
    run(pump)
    (refused,) = said(pump, events.SumRefused)
    evidence, certificate = refused.evidence, pump.parties[NEXT].outcome.result.certificate
    challenge = audit.challenge_of(FLAT.session, evidence.claim)
    store = pump.stores[FLAT.initiator]
    claimed = store.fingerprint(challenge, evidence.claim.name)
    assert audit.convicts(FLAT, certificate, evidence, claimed)
    honest = pump.parties[FLAT.initiator].bulk.total
    assert not audit.convicts(FLAT, certificate, evidence, store.fingerprint(challenge, honest))
    first, *rest = evidence.tags
    for forged in (
        (replace(first, words=bytes(512)), *rest),
        tuple(rest),
        (replace(first, challenge=honest), *rest),
    ):
        with pytest.raises(MalformedMessage):
            audit.convicts(FLAT, certificate, replace(evidence, tags=forged), claimed)
    for claim in (replace(evidence.claim, name=honest), replace(evidence.claim, adder=NEXT)):
        with pytest.raises(MalformedMessage):
            audit.convicts(FLAT, certificate, replace(evidence, claim=claim, under=claim), claimed)


def test_a_device_that_gives_a_false_fingerprint_is_named_and_frames_nobody():
    pump = session()
    machine = pump.parties[DEVICE]
    honest = machine.bulk._witness.fingerprinted

    def false(message):
        return honest(replace(message, words=bytes(512)))

    machine.bulk._witness.fingerprinted = false
    run(pump)
    exact(pump)
    assert pump.named() == pump.named(proven=True) == {DEVICE}
    assert not said(pump, events.SumRefused)


def test_vectors_of_devices_that_are_gone_are_shown_by_their_adder():
    pump = session()
    shown = []
    pump.hooks.append(lambda sender, to, message: isinstance(message, AuditOpened) and shown.append(message))
    pump.hooks.append(lambda sender, to, message: isinstance(message, SumClaim) and pump.kill(DEVICE))
    run(pump)
    opened = exact(pump)
    assert DEVICE in opened.contributors
    assert [dealing.dealer for message in shown for dealing in message.dealings] == [DEVICE]
    assert not pump.named()


def test_an_adder_that_shows_nothing_is_replaced_but_not_called_a_proven_liar():
    pump = session()
    pump.hooks.append(lambda sender, to, message: isinstance(message, SumClaim) and pump.kill(DEVICE))
    pump.tamper = lambda sender, to, message: None if isinstance(message, AuditOpened) else message
    run(pump)
    assert pump.named() == pump.named(proven=False) == {LIAR}
    assert len(said(pump, events.TotalLost)) == 1, "the vector of a device that is gone was in its hands only"


def test_a_lying_adder_that_answers_no_dispute_is_replaced_all_the_same():
    pump = session()
    lies(pump, LIAR, shifted)
    pump.tamper = lambda sender, to, message: (
        None if isinstance(message, AuditOpen) and to == LIAR else message
    )
    began = pump.now
    run(pump)
    exact(pump)
    assert pump.named(proven=False) == {LIAR}
    assert pump.now >= began + AUDIT_WAIT_S


def test_every_device_takes_only_what_passed():
    plan = replace(FLAT, bulk=replace(FLAT.bulk, to_all=True))
    pump = session(plan)
    lies(pump, LIAR, shifted)
    run(pump)
    for k in KEYS:
        sums, _, opened = pump.unmasked(k.party)
        assert np.array_equal(sums, pump.expected(opened))


def test_only_the_initiator_replaces_adders():
    pump = session()
    pump.start()
    for other in KEYS[:4]:
        if other.party != FLAT.initiator:
            for k in KEYS:
                pump.inject(other.party, k.party, AdderReplaced(0, LIAR))
    pump.run()
    exact(pump)
    assert all(not machine._progress.banned for machine in pump.parties.values())


def test_more_who_left_than_an_adder_shows_leave_the_audit_open(monkeypatch):
    """Then the sum counts on its own check, as it would without an audit, and the initiator is told."""
    monkeypatch.setattr(auditor, "MAX_OPENED", 1)
    pump = session()
    leavers = [k.party for k in KEYS if k.party not in (*FLAT.stages[0].adders, FLAT.initiator)][:2]

    def leave(sender, to, message):
        if isinstance(message, SumClaim):
            for party in leavers:
                pump.kill(party)

    pump.hooks.append(leave)
    run(pump)
    exact(pump)
    phases = [event.phase for event in said(pump, events.Progress) if "audit" in event.phase]
    assert phases == ["audit left open"]


TREE = bulk_plan(KEYS, clusters=2)


def test_in_a_tree_a_lying_adder_of_the_root_is_named_and_replaced():
    pump = session(TREE)
    liar = TREE.stages[TREE.root].adders[0]
    honest_add, store = pump.stores[liar].add, pump.stores[liar]
    leaves = len(TREE.stages) - 1

    def add(parts):
        name = honest_add(parts)
        return store.put(shifted(store.packed[name].copy())) if len(parts) == leaves else name

    store.add = add
    run(pump)
    exact(pump)
    assert pump.named() == pump.named(proven=True) == {liar}


def test_in_a_tree_a_lying_adder_of_a_leaf_is_named_with_evidence():
    pump = session(TREE)
    liar = TREE.stages[1].adders[0]
    assert liar not in TREE.stages[TREE.root].adders[:1]
    honest_add, store = pump.stores[liar].add, pump.stores[liar]

    def add(parts):
        name = honest_add(parts)
        return store.put(shifted(store.packed[name].copy())) if len(parts) == 5 else name

    store.add = add
    run(pump)
    assert pump.named() == pump.named(proven=True) == {liar}
    assert not said(pump, events.MaskedTotal)
    assert len(said(pump, events.TotalLost)) == 1
    (refused,) = said(pump, events.SumRefused)
    evidence = refused.evidence
    assert (evidence.claim.stage, evidence.claim.adder) == (1, liar)
    root = pump.parties[TREE.initiator].outcome.result.certificate
    leaf = pump.parties[liar]._adders[1, 0].certificate
    challenge = audit.challenge_of(TREE.session, evidence.under)
    claimed = pump.stores[TREE.initiator].fingerprint(challenge, evidence.claim.name)
    assert audit.convicts(TREE, leaf, evidence, claimed, root)
    with pytest.raises(MalformedMessage, match="another total"):
        audit.convicts(TREE, leaf, evidence, claimed)
    with pytest.raises(MalformedMessage, match="another roster"):
        audit.convicts(TREE, root, evidence, claimed, root)


def test_in_a_tree_a_device_with_a_false_fingerprint_frames_no_leaf():
    pump = session(TREE)
    witness = pump.parties[DEVICE].bulk._witness
    honest = witness.fingerprinted
    witness.fingerprinted = lambda message: honest(replace(message, words=bytes(512)))
    run(pump)
    exact(pump)
    assert pump.named() == pump.named(proven=True) == {DEVICE}
