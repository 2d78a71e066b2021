"""A party crashes between any two effects, its last writes torn, and comes back: as if it had been slow."""

from __future__ import annotations

import random

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.errors import LocalMisuse, UnexpectedMessage
from protocols.machine import Broadcast, Persist, Send
from protocols.sessions import events
from protocols.sessions.durable import MAX_TOLD_AGAIN, DurableParty
from protocols.sessions.messages import Certificate, Deal, Fetch, PeersLost, Proposal, Result, Resumed, Vote
from protocols.sessions.parcels import PARTS_WAIT_S
from protocols.sessions.progress import collecting_s
from protocols.sessions.records import Begun, Heard, Snapshot, VoteCast
from protocols.sessions.rootwork import INITIATOR_PATIENCE_S
from protocols.sessions.roster import ROSTER
from tests.scenarios.crash_pump import CrashPump
from tests.scenarios.pump import make_inputs, make_keys, make_plan, seed_of
from tools.sim.stand_ins import fast_crypto

KEYS = make_keys(8)
SHAPES = {
    "two levels": {"size": (4, 1)},
    "three levels": {"size": (4, 1), "middle": True},
    "larger": {"size": (7, 2)},
}


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


@pytest.fixture(params=[1, 10**6], ids=["from states", "from inputs"])
def _every(request, monkeypatch):
    """At each step that binds it a party stores its state; or always its inputs."""
    monkeypatch.setattr(DurableParty, "snapshot_every", request.param)


@pytest.fixture
def _inputs_only(monkeypatch):
    monkeypatch.setattr(DurableParty, "snapshot_every", 10**6)


def run(shape, crashes, noticed=True, order=None):
    plan = make_plan(KEYS, length=2, **SHAPES[shape])
    inputs = make_inputs(plan)
    pump = CrashPump(plan, KEYS, inputs, coded=False, crashes=crashes, noticed=noticed, order=order)
    pump.start()
    pump.run()
    return pump, inputs


@pytest.mark.parametrize("shape", list(SHAPES))
def test_an_adder_that_was_away_while_its_time_to_collect_went_by_does_not_propose_the_little_it_knows(shape):
    """It is told again first; its machine's deadlines pass before that, as they do in a node that starts."""
    plan = make_plan(KEYS, length=2, **SHAPES[shape])
    inputs = make_inputs(plan)
    pump = CrashPump(plan, KEYS, inputs, coded=False, noticed=False)
    victim = plan.stages[plan.root].adders[0]
    pump.start()
    pump._crash(victim, 10**6)
    for wait_s in (0.0, PARTS_WAIT_S, collecting_s(plan, plan.root)):
        pump.now += wait_s
        for party, machine in pump.parties.items():
            if wait_s == PARTS_WAIT_S and party != victim:
                pump._carry_out(party, machine.expire(pump.now))
        while pump.queue:
            pump._deliver(*pump._next())
    pump.come_back(victim)
    pump._carry_out(victim, pump.parties[victim].expire(pump.now))
    assert not any(isinstance(message, Proposal) for sender, _, message in pump.queue if sender == victim)
    pump.run()
    check(pump, inputs)


def check(pump, inputs):
    """One right total over a certified roster, nothing counted twice, nothing contradicted, all in time."""
    assert not pump.sayings.contradictions
    totals = set()
    for outcome in pump.outcomes().values():
        assert isinstance(outcome, events.Opened)
        assert len(set(outcome.contributors)) == len(outcome.contributors) >= pump.plan.job.min_sites
        expected = field.total(np.stack([inputs[party] for party in outcome.contributors]))
        assert np.array_equal(outcome.total, expected)
        totals.add((outcome.total.tobytes(), outcome.contributors))
    assert len(totals) == 1
    assert not pump.named()
    assert pump.now <= 100.0 + pump.plan.total_ms / 1000 + INITIATOR_PATIENCE_S


def sweep(shape, stride, torn, back, noticed):
    pump, inputs = run(shape, {})
    check(pump, inputs)
    for index, key in enumerate(KEYS):
        for effect in range(1 + (index * 5) % stride, pump.effects[key.party] + 1, stride):
            crashed, inputs = run(shape, {(key.party, effect): (torn, back)}, noticed)
            assert crashed.lives[key.party] == 2, (index, effect)
            check(crashed, inputs)


@pytest.mark.usefixtures("_every")
@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize(("torn", "back"), [(0, 0), (0, 40), (1, 5), (99, 1000)])
def test_a_crash_at_any_effect_costs_nothing(torn, back, noticed):
    sweep("two levels", 41, torn, back, noticed)


@pytest.mark.usefixtures("_every")
@pytest.mark.parametrize(("shape", "stride"), [("three levels", 127), ("larger", 307)])
def test_a_crash_at_any_effect_of_larger_trees(shape, stride):
    sweep(shape, stride, 99, 60, True)


@pytest.mark.long
@pytest.mark.usefixtures("_every")
@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize(("torn", "back"), [(0, 0), (1, 30), (99, 30), (99, 1000)])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_every_effect_of_every_party(shape, torn, back, noticed):
    sweep(shape, 1, torn, back, noticed)


@pytest.mark.usefixtures("_every")
@pytest.mark.parametrize("seed", range(6))
def test_several_parties_crash_again_and_again(seed):
    dice = random.Random(seed)
    plain, _ = run("larger", {})
    crashes = {}
    for _ in range(8):
        party = dice.choice(KEYS).party
        moment = dice.randint(1, plain.effects[party] * 3 // 2)
        crashes[party, moment] = (dice.choice((0, 1, 99)), dice.choice((0, 5, 50)))
    pump, inputs = run("larger", crashes, order=random.Random(seed))
    check(pump, inputs)
    assert sum(pump.lives.values()) > len(KEYS)


def disk_of(shape="two levels", index=0):
    pump, _ = run(shape, {})
    return pump, KEYS[index], pump.disks[KEYS[index].party]


@pytest.mark.usefixtures("_every")
def test_the_replay_comes_to_the_very_same_state_and_says_the_same():
    pump, keys, disk = disk_of()
    said = [body for (sender, _), body in pump.sayings.said.items() if sender == keys.party]
    machine, effects = DurableParty.restore(keys, disk, 500.0, 3.0)
    pump.sayings.said.clear()
    for effect in effects:
        if isinstance(effect, Send | Broadcast):
            pump.sayings.note(keys.party, effect.message)
    assert not pump.sayings.contradictions
    assert set(pump.sayings.said.values()) <= set(said)
    assert not any(isinstance(effect, Persist) for effect in effects)
    assert isinstance(effects[0], Broadcast)
    assert effects[0].message == Resumed()
    assert machine.plan == pump.plan


def test_deadlines_stay_where_they_were():
    plan = make_plan(KEYS, length=2, **SHAPES["two levels"])
    party = DurableParty(plan, KEYS[7], seed_of(7), None)
    effects = party.start(100.0)
    ends = party.deadline
    disk = [effect.record for effect in effects if isinstance(effect, Persist)]
    again, _ = DurableParty.restore(KEYS[7], disk, 7.0, elapsed_s=4.0)
    assert again.deadline == pytest.approx(ends - 100.0 - 4.0 + 7.0)
    late, _ = DurableParty.restore(KEYS[7], disk, 7.0, elapsed_s=1e6)
    assert late.deadline < 7.0
    turned_back, _ = DurableParty.restore(KEYS[7], disk, 7.0, elapsed_s=-50.0)
    assert turned_back.deadline == pytest.approx(ends - 100.0 + 7.0)


@pytest.mark.usefixtures("_inputs_only")
def test_at_every_moment_the_disk_says_all_that_was_said_bindingly():
    """A replay of any prefix says every vote that the prefix records, and says it the same."""
    pump, keys, disk = disk_of("two levels", 1)
    votes = 0
    for cut in range(1, len(disk) + 1):
        if not isinstance(disk[cut - 1], VoteCast) or disk[cut - 1].label != ROSTER:
            continue
        _, effects = DurableParty.restore(keys, disk[:cut], 0.0, 0.0)
        for effect in effects:
            if isinstance(effect, Send | Broadcast):
                pump.sayings.note(keys.party, effect.message)
                votes += isinstance(effect.message, Vote)
    assert votes > 0
    assert not pump.sayings.contradictions


@pytest.mark.usefixtures("_inputs_only")
def test_another_version_that_would_say_something_else_abstains():
    _, keys, disk = disk_of("two levels", 1)
    place = next(i for i, record in enumerate(disk) if isinstance(record, VoteCast))
    other = disk[place].__class__(disk[place].stage, disk[place].generation, disk[place].label, bytes(32))
    with pytest.raises(LocalMisuse, match="another version"):
        DurableParty.restore(keys, [*disk[:place], other, *disk[place + 1 :]], 0.0, 0.0)
    with pytest.raises(LocalMisuse, match="no beginning"):
        DurableParty.restore(keys, disk[1:], 0.0, 0.0)


@pytest.mark.usefixtures("_inputs_only")
def test_what_is_stored_is_bounded_and_beyond_it_the_party_abstains(monkeypatch):
    monkeypatch.setattr("protocols.sessions.durable.MAX_LOG_BYTES", 5_000)
    pump, inputs = run("two levels", {})
    check(pump, inputs)
    disk = pump.disks[KEYS[0].party]
    assert sum(len(record.body) for record in disk if isinstance(record, Heard)) < 20_000
    with pytest.raises(LocalMisuse, match="more was heard"):
        DurableParty.restore(KEYS[0], disk, 0.0, 0.0)


def test_a_party_that_says_too_much_is_heard_no_more():
    plan = make_plan(KEYS, length=2, **SHAPES["two levels"])
    party = DurableParty(plan, KEYS[0], seed_of(0), None)
    party.start(0.0)
    talker = KEYS[5].party
    refusals = set()
    for _ in range(2000):
        try:
            party.receive(0.0, talker, Fetch(9, 0, ()))
        except UnexpectedMessage as error:
            refusals.add(str(error))
    assert any("more than a session needs" in words for words in refusals)


def test_a_peer_that_comes_back_is_told_again_but_not_for_ever():
    plan = make_plan(KEYS, length=2, **SHAPES["two levels"])
    party = DurableParty(plan, KEYS[7], seed_of(7), make_inputs(plan)[KEYS[7].party])
    started = party.start(0.0)
    adder = next(e.to for e in started if isinstance(e, Send))
    told = 0
    for _ in range(2 * MAX_TOLD_AGAIN):
        party.receive(0.0, KEYS[7].party, PeersLost((adder,)))
        again = party.receive(0.0, KEYS[7].party, PeersLost(()))
        told += any(
            isinstance(e, Broadcast) and e.to == (adder,) and isinstance(e.message, Deal) for e in again
        )
    assert told == MAX_TOLD_AGAIN
    assert party.receive(0.0, adder, Resumed()) == []


@pytest.mark.usefixtures("_inputs_only")
def test_the_beginning_shows_no_secret():
    _, _, disk = disk_of()
    assert isinstance(disk[0], Begun)
    assert "redacted" in repr(disk[0])
    assert disk[0].seed.hex() not in repr(disk[0])


def test_a_member_that_was_replaced_while_it_was_away_learns_it_and_erases_what_it_held():
    """Its substitute sits in the next generation; it comes back from a disk that still has the old shares."""
    plan = make_plan(KEYS, length=2, size=(4, 1), clusters=1)
    inputs = make_inputs(plan)
    root, victim = plan.root, plan.stages[plan.root].members[2]

    class Away(CrashPump):
        def _deliver(self, sender, to, message):
            is_root = isinstance(message, Certificate) and message.roster.stage == root
            if is_root and self.lives[victim] == 1 and victim not in self.dead:
                self._crash(victim, 10**6)
            super()._deliver(sender, to, message)
            holder = self.parties[victim].party._members.get((root, 0))
            if self.lives[victim] == 2 and holder is not None:
                seen.append((bool(holder._held), holder.erased, self.parties[victim].outcome))

        def _post(self, sender, to, message):
            if isinstance(message, Result) and to == victim:
                return  # not the result, the certificate of its successors must make it forget
            super()._post(sender, to, message)

    seen = []
    pump = Away(plan, KEYS, inputs, coded=False)
    pump.start()
    pump.run()
    others = [outcome for party, outcome in pump.outcomes().items() if party != victim]
    assert all(isinstance(outcome, events.Opened) for outcome in others)
    assert others[0].result.handovers, "its seat was handed over"
    assert seen[0][:2] == (True, False), "it held shares when it came back"
    assert any(erased and not held and outcome is None for held, erased, outcome in seen)
    assert not pump.sayings.contradictions
    for party in (victim, *plan.stages[root].members[:2]):
        stored = pump.disks[party]
        index = [i for i, one in enumerate(stored) if isinstance(one, Snapshot) and one.erases]
        assert len(index) == 1, "nobody keeps it on disk"
        back, _ = DurableParty.restore(pump.keys[party], stored[index[0] :], pump.now, 1.0)
        assert back.party._members[root, 0].erased
        assert back.party._members[root, 0].sum is None
