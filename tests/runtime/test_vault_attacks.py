"""A member that sends a node forged or superfluous mail about vaults: it fills nothing and stops nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from mesh.runtime.vaults import standings
from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest
from protocols.sessions.plan import Query, Seat
from protocols.vault.joint import Part, VaultJoint
from protocols.vault.messages import Reading, VaultOrder, erased
from protocols.vault.standing import (
    ACK,
    Deposit,
    Standing,
    Succession,
    cast,
    check_standing,
    deposit_subject,
)
from protocols.vault.terms import sign_terms
from protocols.wire.digest import digest
from tests.runtime.memory_mesh import MemoryMesh, in_place
from tests.runtime.test_vault_nodes import ShareSpec, file_of
from tests.scenarios.vault_pump import keys_of, terms_of

__all__ = ["in_place"]


def invented(node, index: int) -> Standing:
    """A vault of an invented owner at invented holders, the last of which is `node`."""
    owner, holders = keys_of(f"owner {index}"), [keys_of(f"h{i}") for i in range(3)]
    terms = replace(terms_of(owner, [*holders, keys_of("x")], 1), mesh=node.vaults._mesh)
    last = Seat(node.vaults.me, node.vaults.keys.sealing_key)
    terms = replace(terms, seats=(*terms.seats[:3], last), nonce=digest("n", bytes([index])))
    name = digest("test dealing")
    subject = deposit_subject(terms.vault, name)
    ballots = tuple(cast(one, seat, ACK, subject) for seat, one in enumerate(holders))
    return Standing(sign_terms(owner.signing_seed, terms), Deposit(name, ballots), ())


async def test_a_vault_of_invented_holders_takes_no_room(
    tmp_path: Path, autojump_clock, in_place: None
) -> None:
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        victim, attacker = (await mesh.start(5))[:2]
        vaults = victim.node.vaults
        for index in range(3):
            with pytest.raises(UnexpectedMessage):
                await vaults._handle(attacker.node.vaults.me, invented(victim.node, index))
        assert vaults.store.held() == ()
        nursery.cancel_scope.cancel()


async def test_confirmations_and_sums_come_from_those_they_are_about(
    tmp_path: Path, autojump_clock, in_place: None
) -> None:
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, attacker = (await mesh.start(6))[:2]
        await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        vaults, me = owner.node.vaults, attacker.node.vaults.me
        vault = Digest(vaults.store.own("cardio")[0].vault)
        for index in range(3):
            stranger = keys_of(f"stranger {index}")
            word = erased(stranger.signing_seed, stranger.party, vault, 1)
            with pytest.raises(UnexpectedMessage):
                await vaults._handle(me, word)
        assert vaults.store.confirmed(vault) == {}
        me_, mean = owner.node.vaults.me, (Query("mean", "bmi", ()),)
        reading = Reading(b"r" * 16, me_, (vault,), (), mean, "", (me_,))
        part = Part(invented(attacker.node, 0), (0, 1), ())
        with pytest.raises(UnexpectedMessage, match="somebody else"):
            await attacker.node.vaults._handle(me, VaultJoint(reading, (part,)))
        nursery.cancel_scope.cancel()


async def test_old_and_foreign_standings_cost_no_signature_and_ended_ones_bring_the_order(
    tmp_path: Path, autojump_clock, in_place: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Standing] = []

    def counted(standing, *arguments):
        checked.append(standing)
        return check_standing(standing, *arguments)

    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, victim, attacker = (await mesh.start(5))[:3]
        await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        vaults, me = victim.node.vaults, attacker.node.vaults.me
        standing = (await owner.node.vaults.finder.find("cardio"))[0]
        monkeypatch.setattr(standings, "check_standing", counted)
        for _ in range(50):
            await vaults._handle(me, standing)  # nothing new
        for index in range(3):
            with pytest.raises(UnexpectedMessage):
                await vaults._handle(me, invented(victim.node, index))
        assert checked == []
        step = Succession(1, 0, 0, standing.seats, digest("x"), (), (), ())
        forged = replace(standing, successions=(step,))
        with pytest.raises(MalformedMessage, match="0 ballots"):
            await vaults._handle(me, forged)
        vaults._allowance.charge(me, int(vaults._allowance._accounts[me].left))
        with pytest.raises(UnexpectedMessage, match="more proofs"):
            await vaults._handle(me, forged)
        assert checked == [forged]
        await owner.service.unshare("cardio")
        posted = []
        vaults._keeper.standings._post = lambda to, message: posted.append((to, message))
        await vaults._handle(me, standing)  # a holder that was away while the vault was erased
        assert [(to, type(message)) for to, message in posted] == [((me,), VaultOrder)]
        nursery.cancel_scope.cancel()
