"""Liars, forks and floods against program sessions: what each one tried, and that it comes to nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.arithmetic import rns
from protocols.arithmetic.xof import Xof
from protocols.engine.boundary import deal
from protocols.errors import MalformedMessage, UnattributableFault, UnexpectedMessage
from protocols.programs import dealing, questions, results
from protocols.programs.messages import (
    FIRST,
    Attempt,
    Layer,
    Mark,
    OutputShare,
    RecoveryPart,
    Reseat,
    StartProposal,
)
from protocols.programs.start import check_attempt
from tests.scenarios.program_pump import Pump, keys_of
from tests.scenarios.test_program_sessions import LINE, TABLES, WORK, value


def test_an_output_share_that_came_early_and_does_not_open_stops_nobody() -> None:
    """With (3, 1) everybody computes: the asker must take its seat although somebody sent it rubbish."""
    pump = Pump(WORK, TABLES[:3], n=3)
    pump.step(pump.party(0), lambda m: m.start(0.0))
    machine = pump.machines[pump.party(0)]
    machine.receive(0.0, pump.party(2), OutputShare(0, 0, 0, 1, bytes(200)))
    machine.start = lambda now: []
    pump.run()
    assert value(pump) == np.median([v for table in TABLES[:3] for v in table["c"]])
    assert pump.now < 2


def test_two_liars_among_the_first_shares_neither_change_the_result_nor_frame_anybody() -> None:
    """At 2t+1 shares of degree t two errors decode to another polynomial, with an honest member off it."""
    secret = rns.from_ints(np.array([41], dtype=np.int64))
    shares = dict(enumerate(deal(secret, 7, 2, Xof(bytes(32), "test")), 1))
    for liar in (6, 7):  # add c (x - 1)(x - 2), which vanishes at members 1 and 2
        shares[liar] = rns.add(shares[liar], rns.scale(rns.from_ints(np.array([1])), (liar - 1) * (liar - 2)))
    first = {point: shares[point] for point in (1, 2, 3, 6, 7)}
    with pytest.raises(UnattributableFault):
        results.decoded(first, 2, Xof(bytes(32), "weights"), 5)
    found, liars = results.decoded(shares, 2, Xof(bytes(32), "weights"), 5)
    assert (rns.to_ints(found)[0], liars) == (41, (6, 7))


def test_in_mode_a_a_lie_with_few_shares_at_hand_is_not_a_result() -> None:
    """The liar's share and one honest one come first: two shares fit any polynomial of degree 1."""
    pump = Pump(WORK, TABLES, mode="A")
    slow = {pump.party(2), pump.party(3)}
    secrets = {keys.party: machine for keys, machine in zip(pump.keys, pump.machines.values(), strict=False)}

    def hook(pump, sender, to, message):
        if isinstance(message, OutputShare) and sender in slow and pump.now < 20:
            later = message
            pump.push(pump.now + 20, lambda: pump.arrive(sender, to, later))
            return None
        return message

    made = results.shared

    def lying(keys, plan, program, outputs, place, seed):
        if keys.party == pump.party(1):
            one = rns.from_ints(np.ones(outputs[0].shape[1:], dtype=np.int64))
            outputs = tuple(rns.add(o, one) for o in outputs)
        return made(keys, plan, program, outputs, place, seed)

    assert secrets
    pump.hook = hook
    results.shared = lying
    try:
        pump.run()
    finally:
        results.shared = made
    assert value(pump) == np.median(LINE)


def test_an_owner_without_a_row_is_no_cheat() -> None:
    keys = keys_of(9)
    pump = Pump(WORK, TABLES)
    none = np.zeros((2, 0), dtype=np.uint64)
    public, sealed = dealing.deal_input(keys, pump.plan.session, pump.plan.seats, 1, none, 0, bytes(32))
    part = dealing.InputPart(public, 0, sealed[1][0])
    opened = dealing.open_input(pump.keys[1], pump.plan.session, 4, 1, part)
    share = dealing.judged(pump.plan.session, 1, 1, public, opened)
    assert share is not None
    assert share.shape == (2, 0)


def _running(**options) -> Pump:
    """Everybody computes in attempt 0 and no vector arrives."""
    pump = Pump(WORK, TABLES, hook=lambda pump, s, to, m: None if isinstance(m, Layer) else m, **options)
    pump.run(until=0.5)
    return pump


def test_an_asker_cannot_give_two_points_to_one_substitute() -> None:
    """Handed f(3) and then f(4), a substitute of a (4, 1) committee would know every input."""
    pump = _running(substitutes=1)
    asker, (extra,), seats = pump.party(0), pump.plan.substitutes, list(pump.plan.seats)
    member = pump.machines[pump.party(1)].member
    third, fourth = [*seats[:2], extra, seats[3]], [*seats[:3], extra]
    with pytest.raises(UnexpectedMessage, match="is here"):
        member.receive(pump.now, asker, Reseat(1, tuple(third), member.first))
    member.lose(frozenset({pump.party(2)}))
    member.receive(pump.now, asker, Reseat(1, tuple(third), member.first))
    member.lose(frozenset({extra.party, pump.party(3)}))
    with pytest.raises(UnexpectedMessage, match="second seat"):
        member.receive(pump.now, asker, Reseat(2, tuple(fourth), member.first))


def test_seats_for_strangers_are_refused_without_harm() -> None:
    pump = _running()
    member, seats = pump.machines[pump.party(1)].member, pump.plan.seats
    for wrong in (seats[:3], (*seats[:3], replace(seats[3], party=keys_of(77).party))):
        with pytest.raises(MalformedMessage):
            member.receive(pump.now, pump.party(0), Reseat(1, wrong, member.first))


def test_a_mark_names_the_run_that_made_it() -> None:
    """In (5, 1) an asker can have different quorums take an attempt 1 each: their marks must not mix."""
    marks = []
    for quorum in ((2, 3, 5), (3, 4, 5)):
        pump = Pump(WORK, [*TABLES, {"c": [2.0]}], n=5)

        def hook(pump, sender, to, message, quorum=quorum):
            if isinstance(message, Attempt):
                return replace(message, mark=FIRST, quorum=quorum, helpers=(), fresh=())
            first = isinstance(message, Layer) and not message.attempt and message.layer > 0
            return None if first else message

        pump.hook = hook
        pump.run(until=30.0)
        member = pump.machines[pump.party(4)].member
        marks.append({m for m in member.computing.marks if m != FIRST and m.attempt == 1})
    assert all(marks)
    assert {(m.attempt, m.layer) for m in marks[0]} == {(m.attempt, m.layer) for m in marks[1]}
    assert not marks[0] & marks[1]
    other = max(marks[0], key=lambda m: m.layer)
    with pytest.raises(UnexpectedMessage, match="not held"):
        member.computing.begin(pump.now, Attempt(0, 60, other, (3, 4, 5)))


def test_in_mode_a_a_lost_member_is_replaced_by_one_that_holds_the_mark_itself() -> None:
    pump = Pump(WORK, [*TABLES, {"c": [2.0]}], n=5, mode="A", substitutes=1)

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and message.layer == 9 and not pump.dead:
            pump.kill(2)
        assert not isinstance(message, RecoveryPart)
        return None if sender in pump.dead else message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median([*LINE, 2.0])
    assert pump.dead
    handed = Attempt(0, 1, Mark(0, 7), (1, 2, 4, 5), (1, 2), (4,))
    with pytest.raises(MalformedMessage, match="mode A"):
        check_attempt(pump.plan, handed)


def test_one_member_cannot_fill_the_room_for_the_vectors_of_the_others() -> None:
    pump = _running()
    member, liar, honest = pump.machines[pump.party(1)].member, pump.party(3), pump.party(2)
    none = np.zeros(0, dtype=np.uint64)
    refused = 0
    for number in range(1, 65):
        for layer in range(40):
            try:
                member.receive(pump.now, liar, Layer(number, layer, 0, none))
            except UnexpectedMessage:
                refused += 1
    assert refused == 64 * 40 - 64
    with pytest.raises(UnexpectedMessage, match="no vector"):
        member.receive(pump.now, liar, Layer(1, 0, 1 << 16, none))
    member.receive(pump.now, honest, Layer(1, 0, 0, none))  # there is room for it


def test_vectors_before_the_start_are_kept_for_each_member_apart() -> None:
    pump = Pump(WORK, TABLES)
    machine = pump.machines[pump.party(1)]
    machine.start(0.0)
    none = np.zeros(0, dtype=np.uint64)
    for _ in range(64):
        machine.receive(0.0, pump.party(3), Layer(0, 0, 0, none))
    with pytest.raises(UnexpectedMessage):
        machine.receive(0.0, pump.party(3), Layer(0, 0, 0, none))
    machine.receive(0.0, pump.party(2), Layer(0, 0, 0, none))


def test_a_member_that_was_proposed_another_roster_computes_the_certified_one() -> None:
    pump = Pump(WORK, TABLES)

    def hook(pump, sender, to, message):
        if isinstance(message, StartProposal) and to == pump.party(3):
            inputs = message.start.inputs[1:]
            roster = questions.Roster(
                tuple(pump.plan.owners.index(e.dealer) for e in inputs), tuple(e.rows for e in inputs)
            )
            graph = questions.compiled(pump.work, roster, pump.plan.committee()).graph.digest()
            return StartProposal(replace(message.start, inputs=inputs, graph=graph))
        return message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    member = pump.machines[pump.party(3)].member
    assert member.start is not None
    assert member.program.graph.digest() == member.start.graph
