"""A substitute takes the seat of a root member that left, and the old shares are erased."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.errors import MalformedMessage, ProtocolError
from protocols.sessions import events
from protocols.sessions.handover import check_handover
from protocols.sessions.messages import (
    Certificate,
    Handover,
    HandoverCertificate,
    HandoverProposal,
    OpeningShare,
    PeersLost,
    Result,
)
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan
from tools.sim.stand_ins import fast_crypto

KEYS = make_keys(8)
ID = [key.party for key in KEYS]


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


def session(size=(4, 1), clusters=1, **options):
    plan = make_plan(KEYS, size=size, clusters=clusters, length=3)
    inputs = make_inputs(plan)
    return Pump(plan, KEYS, inputs, **options), inputs


def root_of(pump):
    return pump.plan.root


def kill_when(pump, condition, victims, noticed=True):
    """Kill as soon as a message fulfils `condition`; `victims` one at each time."""
    waiting = list(victims)

    def hook(sender, to, message):
        if waiting and condition(sender, to, message):
            pump.kill(waiting.pop(0), noticed)

    pump.hooks.append(hook)


def root_certified(pump, generation=0):
    return lambda s, to, m: (
        isinstance(m, Certificate) and (m.roster.stage, m.roster.generation) == (root_of(pump), generation)
    )


def run(pump):
    pump.start()
    pump.run()


def check_total(pump, inputs):
    expected = field.total(np.stack(list(inputs.values())))
    results = []
    for party, outcome in pump.outcomes().items():
        assert isinstance(outcome, events.Opened), (ID.index(party), outcome)
        assert np.array_equal(outcome.total, expected)
        results.append(outcome.result)
    assert not pump.named()
    return results[0]


def handovers(pump):
    chains = [machine.root.handovers for party, machine in pump.parties.items() if party not in pump.dead]
    return max(chains, key=len)


@pytest.mark.parametrize("size", [(4, 1), (7, 2)])
def test_a_lost_member_is_replaced_by_the_first_substitute(size):
    pump, inputs = session(size=size)
    victim = pump.plan.stages[root_of(pump)].members[2]
    kill_when(pump, root_certified(pump), [victim])
    run(pump)
    result = check_total(pump, inputs)
    substitute = pump.plan.stages[root_of(pump)].substitutes[0]
    (handover,) = result.handovers
    assert handover.handover.seats[2] == substitute
    assert result.certificate.roster.generation == 1
    opened = {m.generation for s, _, m, _ in pump.wire if isinstance(m, OpeningShare)}
    assert opened == {1}
    assert pump.parties[substitute.party].root.released


def test_old_shares_are_gone_once_the_new_generation_is_certified():
    pump, inputs = session()
    root = root_of(pump)
    victim = pump.plan.stages[root].members[2]
    kill_when(pump, root_certified(pump), [victim])
    seen = []

    def look(sender, to, message):
        if isinstance(message, OpeningShare) and message.generation == 1:
            for party, machine in pump.parties.items():
                old = machine._members.get((root, 0))
                if old is not None and party not in pump.dead:
                    seen.append((old.erased, old.sum, dict(old._held), old._checks))

    pump.hooks.append(look)
    run(pump)
    check_total(pump, inputs)
    assert seen
    assert all(item == (True, None, {}, {}) for item in seen)


def test_a_clusters_sums_are_gone_once_its_parent_is_certified():
    pump, inputs = session(clusters=2)
    seen = []

    def look(sender, to, message):
        if isinstance(message, OpeningShare):
            for stage in (0, 1):
                for machine in pump.parties.values():
                    member = machine._members.get((stage, 0))
                    if member is not None:
                        seen.append((member.erased, member.sum, dict(member._held)))

    pump.hooks.append(look)
    run(pump)
    check_total(pump, inputs)
    assert sum(item == (True, None, {}) for item in seen) > 0.8 * len(seen)
    ended = [m for machine in pump.parties.values() for m in machine._members.values()]
    assert all(m.erased and m.sum is None and not m._held for m in ended)
    assert all(machine._seed == b"" and not machine.root.openings for machine in pump.parties.values())


def test_two_handovers_one_after_the_other():
    pump, inputs = session()
    root = root_of(pump)
    first, second = pump.plan.stages[root].members[2], pump.plan.stages[root].members[3]
    kill_when(pump, root_certified(pump), [first])
    kill_when(pump, root_certified(pump, 1), [second])
    run(pump)
    result = check_total(pump, inputs)
    spare = [seat.party for seat in pump.plan.stages[root].substitutes]
    parties = [seat.party for seat in result.handovers[-1].handover.seats]
    assert len(result.handovers) == 2
    assert parties[2:] == spare[:2]


def test_the_substitute_dies_as_well():
    pump, inputs = session()
    root = root_of(pump)
    victim, substitute = pump.plan.stages[root].members[2], pump.plan.stages[root].substitutes[0].party
    kill_when(pump, root_certified(pump), [victim])
    kill_when(pump, lambda s, to, m: isinstance(m, HandoverCertificate) and to == substitute, [substitute])
    run(pump)
    result = check_total(pump, inputs)
    parties = [seat.party for seat in result.handovers[-1].handover.seats] if result.handovers else []
    assert substitute not in parties or len(result.handovers) == 1


@pytest.mark.parametrize("size", [(4, 1), (7, 2)])
def test_n_minus_t_minus_one_members_leave_one_after_another(size):
    pump, inputs = session(size=size)
    root = root_of(pump)
    n, t = size
    spare = len(pump.plan.stages[root].substitutes)
    victims = pump.plan.stages[root].members[1 : 1 + min(n - t - 1, spare)]
    for generation, victim in enumerate(victims):
        kill_when(pump, root_certified(pump, generation), [victim])
    run(pump)
    result = check_total(pump, inputs)
    assert len(result.handovers) == len(victims)


def test_news_of_the_loss_that_comes_late_does_not_lose_the_handover():
    """The adder proposes before the members see the seat vacant."""
    pump, inputs = session()
    root = root_of(pump)
    victim = pump.plan.stages[root].members[2]
    adder = pump.plan.stages[root].adders[0]
    kill_when(pump, root_certified(pump), [victim], noticed=False)
    told = []

    def early(sender, to, message):
        if victim in pump.dead and not told:
            told.append(True)
            lost = PeersLost((victim,))
            pump._carry_out(adder, pump.parties[adder].receive(pump.now, adder, lost))
        if isinstance(message, HandoverProposal) and len(told) == 1:
            told.append(True)
        elif len(told) == 2 and not any(isinstance(m, HandoverProposal) for _, _, m in pump.queue):
            told.append(True)
            pump.notice()

    pump.hooks.append(early)
    run(pump)
    result = check_total(pump, inputs)
    assert len(told) == 3
    assert len(result.handovers) in (0, 1)


def test_a_handover_of_a_member_that_is_there_gets_no_vote():
    pump, inputs = session()
    root = root_of(pump)
    stage = pump.plan.stages[root]
    seats = (*stage.seats[:3], stage.substitutes[0])
    proposal = HandoverProposal(Handover(root, 0, seats))
    sent = []

    def hook(sender, to, message):
        if root_certified(pump)(sender, to, message) and not sent:
            sent.append(True)
            for member in stage.members[1:]:
                pump.queue.appendleft((stage.adders[0], member, proposal))

    pump.hooks.append(hook)
    run(pump)
    result = check_total(pump, inputs)
    assert not result.handovers


def test_forged_handovers_are_refused():
    pump, _ = session()
    root = root_of(pump)
    victim = pump.plan.stages[root].members[2]
    kill_when(pump, root_certified(pump), [victim])
    run(pump)
    good = next(m for _, _, m, _ in pump.wire if isinstance(m, HandoverCertificate))
    fresh, _ = session()
    fresh.start()
    machine = fresh.parties[ID[1]]
    stage = fresh.plan.stages[root]
    accomplice = replace(good.handover, seats=(*stage.seats[:2], stage.substitutes[1], stage.seats[3]))
    for forged in (
        replace(good, ballots=good.ballots[:-1]),
        replace(good, ballots=(*good.ballots[:-1], good.ballots[0])),
        replace(good, handover=accomplice),
        replace(good, handover=replace(good.handover, seats=stage.seats)),
        replace(good, handover=replace(good.handover, seats=good.handover.seats[:3])),
        replace(good, certificate=replace(good.certificate, ballots=good.certificate.ballots[:2])),
    ):
        with pytest.raises(MalformedMessage):
            check_handover(machine.root.assembly, forged)
        with pytest.raises(ProtocolError):
            machine.receive(100.0, ID[0], forged)
    assert not machine.root.handovers
    for proposer, seats in ((ID[5], good.handover.seats), (stage.adders[0], accomplice.seats[:3])):
        with pytest.raises(ProtocolError):
            machine.receive(100.0, proposer, HandoverProposal(Handover(root, 0, seats)))


@pytest.mark.parametrize("opened_first", [1, 2])
def test_a_handover_that_races_with_the_opening(opened_first):
    """Some members have opened when the others hear of the loss: one total all the same."""
    pump, inputs = session(size=(7, 2))
    root = root_of(pump)
    victim = pump.plan.stages[root].members[6]
    releases = set()

    def condition(sender, to, message):
        if isinstance(message, OpeningShare):
            releases.add(sender)
        return len(releases) >= opened_first

    kill_when(pump, condition, [victim])
    run(pump)
    check_total(pump, inputs)


def test_a_split_view_lets_both_generations_open_and_only_one_total():
    """Half of the members never hear of the handover; whoever opens, opens the same."""
    for cut in range(1, 6):
        pump, inputs = session(size=(7, 2))
        root = root_of(pump)
        victim = pump.plan.stages[root].members[6]
        deaf = set(pump.plan.stages[root].members[1 : 1 + cut])
        kill_when(pump, root_certified(pump), [victim])
        pump.tamper = lambda s, to, m, deaf=deaf: (
            None if isinstance(m, HandoverCertificate) and to in deaf else m
        )
        run(pump)
        totals = {
            outcome.total.tobytes()
            for outcome in pump.outcomes().values()
            if isinstance(outcome, events.Opened)
        }
        assert len(totals) <= 1
        expected = field.total(np.stack(list(inputs.values())))
        assert totals <= {expected.tobytes()}


def test_an_abort_after_a_handover_vote_is_not_called_definite():
    """Who agreed that others take over cannot promise that nothing will be opened."""
    pump, _ = session()
    victim = pump.plan.stages[root_of(pump)].members[2]
    kill_when(pump, root_certified(pump), [victim])
    pump.tamper = lambda s, to, m: None if isinstance(m, OpeningShare | Result) else m
    run(pump)
    outcome = pump.outcomes()[pump.plan.initiator]
    assert isinstance(outcome, events.Aborted)
    assert not outcome.definite
