"""Shares that their holders missed: made anew from what fellow holders kept, and from nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.errors import MalformedMessage
from protocols.vault import recovery
from protocols.vault.deposit import Depositor
from protocols.vault.recovery import Recovery, Remains, VaultRemains
from protocols.vault.renewal_messages import AckCast
from protocols.vault.standing import check_standing
from protocols.wire import codec
from tests.scenarios.vault_pump import MESH, Pump, deposited


def renewed_without(missing: int, liar: int | None = None) -> tuple[Pump, VaultRemains]:
    """A renewal during which one holder was away; what a fellow answers it afterwards."""
    vault = deposited(5, 1)
    if liar is not None:
        party = vault.holders[liar].party
        vault.shares[party] = field.add(vault.shares[party], np.ones_like(vault.shares[party]))
    pump = Pump(vault)
    pump.start(lost=frozenset({vault.holders[missing].party}))
    pump.run()
    kept = [record for record in pump.disks[vault.holders[0].party] if isinstance(record, Remains)]
    answer = kept[-1].answer(vault.holders[0], pump.renewed()[0], missing)
    assert answer is not None
    return pump, codec.decode(VaultRemains, codec.encode(answer))


@pytest.mark.parametrize("liar", [None, 1])
def test_who_was_away_in_a_renewal_gets_its_share_from_one_fellow(liar) -> None:
    pump, answer = renewed_without(4, liar)
    standing, shares = pump.renewed()
    check_standing(standing, MESH)
    assert standing.successions[-1].left_out == (() if liar is None else (liar,))
    keys = pump.vault.holders[4]
    shares = {keys.party: Recovery(keys, standing).receive(answer), **shares}
    for other in shares:  # of one polynomial with every other share
        some = {keys.party: shares[keys.party], other: shares[other]}
        assert other == keys.party or np.array_equal(pump.vault.secrets(standing, some), pump.vault.vector)


def test_nothing_in_an_answer_is_taken_on_trust() -> None:
    pump, answer = renewed_without(4)
    keys, standing = pump.vault.holders[4], pump.renewed()[0]
    other = renewed_without(4, 1)[1]
    forged = [
        replace(answer, sealed=answer.sealed[::-1]),
        replace(answer, sealed=answer.sealed[:-1]),
        replace(answer, sealed=answer.sealed[:-1], dealings=answer.dealings[:-1]),
        replace(answer, dealings=answer.dealings[::-1], sealed=answer.sealed[::-1]),
        replace(answer, roster=None),
        replace(answer, generation=2),
        other,
    ]
    for message in forged:
        with pytest.raises(MalformedMessage):
            Recovery(keys, standing).receive(message)


def test_nothing_is_kept_for_those_who_have_their_share_nor_of_ones_own_when_all_have() -> None:
    vault = deposited(5, 1)
    pump = Pump(vault)
    pump.start(lost=frozenset({vault.holders[4].party}))
    pump.run()
    for seat, keys in enumerate(vault.holders[:4]):
        kept = [record for record in pump.disks[keys.party] if isinstance(record, Remains)]
        assert all(seat not in {one.seat for one in record.seats} for record in kept)
        assert kept[-1].answer(keys, pump.renewed()[0], seat) is None
        assert [one.seat for one in kept[-1].seats] == [4]
    everybody = Pump(deposited(4, 1))
    everybody.start()
    everybody.run()
    kept = [record for records in everybody.disks.values() for record in records]
    last = {id(records): records for records in everybody.disks.values()}
    assert any(isinstance(record, Remains) for record in kept)
    for records in last.values():
        remains = [record for record in records if isinstance(record, Remains)][-1]
        assert remains.seats == remains.dealings == remains.own.sealed == ()


def test_who_was_away_during_the_deposit_gets_its_share_too() -> None:
    vault = deposited(4, 1)
    machine = Depositor(vault.owner, vault.standing.terms, vault.vector, b"d" * 32)
    deal = machine.start(0.0)[0].message.deal
    answer = recovery.of_deposit(vault.standing.terms.terms, deal, 0).answer(
        vault.holders[0], vault.standing, 2
    )
    assert answer is not None
    share = Recovery(vault.holders[2], vault.standing).receive(answer)
    assert np.array_equal(share, vault.shares[vault.holders[2].party])
    with pytest.raises(MalformedMessage):
        Recovery(vault.holders[1], vault.standing).receive(answer)


def test_a_share_that_comes_late_is_dealt_in_the_renewal_that_waits_for_it() -> None:
    """One dealer lies, one has no share yet: two truths of three are none, until the third comes."""
    vault = deposited(4, 1)
    liar, late = vault.holders[2].party, vault.holders[3].party
    true = vault.shares[liar]
    vault.shares[liar] = field.add(true, np.ones_like(true))
    share = vault.shares.pop(late)
    pump = Pump(vault)
    pump.start()
    assert pump.machines[late].lacks_share
    pump.run(until=30.0)
    assert all(machine.outcome is None for machine in pump.machines.values())
    pump.carry(late, pump.machines[late].supply(pump.now, share, pump.seed(late)))
    assert not pump.machines[late].lacks_share
    pump.run()
    vault.shares |= {liar: true, late: share}
    standing, shares = pump.renewed()
    assert np.array_equal(vault.secrets(standing, shares), vault.vector)
    spoken = [record for record in pump.disks[late] if isinstance(record, AckCast)]
    assert len({record.round for record in spoken}) == len(spoken)


@pytest.mark.parametrize(("n", "t"), [(4, 1), (10, 3)])
def test_what_is_kept_for_others_is_counted_in_what_a_vault_takes(n: int, t: int) -> None:
    pump = Pump(deposited(n, t))
    pump.start()
    pump.run()
    terms = pump.vault.standing.terms.terms
    kept = [codec.encode(r) for records in pump.disks.values() for r in records if isinstance(r, Remains)]
    most = max(map(len, kept)) + 2 * terms.share_bytes
    assert 0.9 * terms.most_bytes < most <= terms.most_bytes
