"""The owner's rules of a vault, of one reading and of sums over several: who counts, and who does not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.arithmetic.xof import Xof
from protocols.errors import MalformedMessage, UnattributableFault
from protocols.identifiers import Digest, PartyId
from protocols.sessions import codewords
from protocols.sessions.plan import Query
from protocols.vault import consent, deposit, reading
from protocols.vault import joint as joints
from protocols.vault.deposit import Depositor
from protocols.vault.joint import Part, VaultJoint
from protocols.vault.messages import Reading, ask, is_asked
from protocols.vault.reading import Asking
from protocols.vault.terms import sign_terms
from tests.scenarios.test_vault_reading import MEAN, READER, SUM
from tests.scenarios.test_vault_reading import ask as asked
from tests.scenarios.vault_pump import MESH, Vault, deposited, keys_of, terms_of

OTHERS = tuple((Digest(bytes([number]) * 32), PartyId(bytes([number + 100]) * 32)) for number in range(1, 6))


def company(vault: Vault, *more: tuple[Digest, PartyId], queries=MEAN, requester=READER) -> Reading:
    """A reading of the vault together with these (vault, owner)."""
    alone = asked(vault, queries, requester)
    vaults = (vault.standing.vault, *(one for one, _ in more))
    return replace(alone, vaults=vaults, owners=(vault.owner.party, *(owner for _, owner in more)))


def judged(vault: Vault, wanted: Reading, *earlier: Reading, now: float = 5000.0, name: str = "anna") -> str:
    known = [consent.use_of(one) for one in earlier]
    return consent.refusal(vault.standing.terms.terms, wanted, name, known, now) or ""


def test_every_rule_denies_by_its_name() -> None:
    def alone(queries=MEAN, now=5000.0, name="anna", **rules) -> str:
        vault = deposited(4, 1, **rules)
        return judged(vault, asked(vault, queries), now=now, name=name)

    assert alone() == ""
    assert alone(expires_s=4000).startswith("expires")
    assert alone(requesters=("bert",)).startswith("requesters")
    assert alone(requesters=("anna",)) == ""
    assert alone(requesters=(READER.party.hex(),), name="") == ""
    assert alone(allow=("count",)).startswith("allow")
    assert alone((Query("mean", "age", ()),)).startswith("columns")
    assert alone((Query("histogram", "bmi", (0.0, 1.0)),), allow=("histogram",)).startswith("slots")
    assert alone(()).startswith("queries")
    assert alone(min_sites=2).startswith("min_sites: 1 < 2")


def test_earlier_readings_limit_later_ones() -> None:
    two = deposited(4, 1, min_sites=2)
    wanted = company(two, OTHERS[0])
    assert judged(two, wanted) == ""
    assert judged(two, wanted, company(two, *OTHERS[:2], queries=SUM)).startswith("overlap")
    assert judged(two, wanted, company(two, *OTHERS[1:3], queries=SUM)) == ""
    assert judged(two, wanted, company(two, *OTHERS[:2], queries=(Query("count", "*", ()),))) == ""
    once = deposited(4, 1, max_uses=1)
    assert judged(once, asked(once), asked(once, SUM)).startswith("max_uses")
    assert judged(once, asked(once), asked(once, tag=b"2" * 16)) == ""  # the same again is no new use


def test_the_requesters_own_vaults_are_no_company_and_no_difference() -> None:
    """It knows its own rows: subtracted, they leave the sum of the others."""
    two = deposited(4, 1, min_sites=2)
    own = [(Digest(bytes([number]) * 32), READER.party) for number in (201, 202)]
    assert judged(two, company(two, own[0])).startswith("min_sites: 1 < 2")
    assert judged(two, company(two, *own)).startswith("min_sites: 1 < 2")
    live = replace(asked(two), sites=(READER.party,))
    assert judged(two, live).startswith("min_sites: 1 < 2")
    assert judged(two, replace(live, sites=tuple(sorted((READER.party, OTHERS[0][1]))))) == ""
    assert judged(two, company(two, OTHERS[0], own[0])) == ""
    # {A, C, D} and then {A, C, own}: what they differ by is D alone, in the eyes of who knows its own rows
    before = company(two, *OTHERS[:2])
    assert judged(two, company(two, OTHERS[0], own[0]), before).startswith("overlap")
    # two vaults of one owner are one owner's
    twice = ((Digest(b"x" * 32), two.owner.party),)
    assert judged(two, company(two, *twice)).startswith("min_sites: 1 < 2")
    # an owner that the requester made up for this vault
    assert judged(two, replace(company(two, OTHERS[0]), owners=(OTHERS[1][1], OTHERS[0][1]))).startswith(
        "vaults"
    )
    assert judged(two, replace(company(two, OTHERS[0]), owners=(two.owner.party,))).startswith("vaults")


def test_a_reading_is_its_requesters_only() -> None:
    vault = deposited(4, 1)
    good = ask(READER.signing_seed, asked(vault))
    assert is_asked(good)
    assert not is_asked(replace(good, reading=replace(good.reading, purpose="another")))
    assert not is_asked(ask(vault.holders[0].signing_seed, good.reading))


# -- sums over several vaults ---------------------------------------------------------------------------


def part_of(vault: Vault, wanted: Reading, seats: tuple[int, ...]) -> Part:
    asking = Asking(READER, vault.standing, wanted, b"x" * 32)
    asking.start(0.0)
    for seat, holder in enumerate(vault.holders):
        asking.receive(0.1, holder.party, reading.consent(holder, vault.standing, seat, wanted))
    assert asking.consented is not None
    return Part(vault.standing, seats, asking.consented.ballots)


def other_vault() -> Vault:
    owner, holders = keys_of("second owner"), [keys_of(f"h{i}") for i in (2, 3, 7, 8, 9)]
    terms = terms_of(owner, holders, 1, min_sites=2)
    vector = Xof(b"w" * 32, "values").elements(terms.length)
    machine = Depositor(owner, sign_terms(owner.signing_seed, terms), vector, b"e" * 32)
    offer = machine.start(0.0)[0].message
    shares = {}
    for one in holders:
        taken = deposit.take(one, owner.party, offer)
        shares[one.party] = taken.share
        machine.receive(0.1, one.party, taken.receipt)
    return Vault(owner, holders, vector, machine.outcome.standing, shares)


def two_vaults() -> tuple[Vault, Vault, VaultJoint]:
    one, two = deposited(4, 1, min_sites=2), other_vault()
    wanted = company(one, (two.standing.vault, two.owner.party))
    parts = (part_of(one, wanted, (0, 1, 2, 3)), part_of(two, wanted, (0, 1, 3)))
    return one, two, VaultJoint(wanted, parts)


def opened(joint: VaultJoint, dealt: dict[PartyId, np.ndarray]) -> np.ndarray:
    """What a committee of one, which sees everything, computes."""
    codes = joint.codes
    plan = SimpleNamespace(codes=codes, length=codes.length)
    masks = np.ones(4, dtype=np.uint64)
    rows = np.stack([np.concatenate([dealt[party], masks]) for party in joint.dealers])
    total = codewords.added(plan, Digest(b"r" * 32), joint.dealers, rows)
    assert np.array_equal(total[codes.length :], len(rows) * masks)
    return total[: codes.length]


def dealt_by_all(joint: VaultJoint, *vaults: Vault) -> dict[PartyId, np.ndarray]:
    return {
        party: joints.summand(
            joint, party, {v.standing.vault: v.shares[party] for v in vaults if party in v.shares}
        )
        for party in joint.dealers
    }


def test_shares_of_two_vaults_add_up_to_their_sum() -> None:
    one, two, joint = two_vaults()
    joints.check_joint(joint, MESH)
    assert len(joint.dealers) == 5  # h2 and h3 hold seats of both
    total = opened(joint, dealt_by_all(joint, one, two))
    expected = field.add(one.vector[:25], two.vector[:25])
    assert np.array_equal(codewords.answer(joint.codes, total), expected)
    assert not total[25:].any()
    assert codewords.liars(joint.codes, total) == ()
    wanted = joint.reading
    for bad in (
        replace(joint, parts=(joint.parts[0],)),
        replace(joint, parts=(joint.parts[0], joint.parts[0])),
        replace(joint, parts=(replace(joint.parts[0], seats=(0, 2)), joint.parts[1])),
        replace(joint, parts=(replace(joint.parts[0], ballots=joint.parts[0].ballots[:2]), joint.parts[1])),
        replace(joint, reading=replace(wanted, id=b"q" * 16)),
        replace(joint, reading=replace(wanted, owners=(one.owner.party, OTHERS[0][1]))),
    ):
        with pytest.raises(MalformedMessage):
            joints.check_joint(bad, MESH)


@pytest.mark.parametrize("liar", ["h0", "h1", "h2", "h3"])
@pytest.mark.parametrize("columns", [slice(0, 1), slice(3, 9), slice(0, 25), slice(25, 50)])
def test_a_holder_that_deals_another_share_is_found_out(liar: str, columns: slice) -> None:
    one, two, joint = two_vaults()
    party = keys_of(liar).party
    dealt = dealt_by_all(joint, one, two)
    dealt[party] = dealt[party].copy()
    dealt[party][columns] = field.add(dealt[party][columns], np.ones_like(dealt[party][columns]))
    total = opened(joint, dealt)
    if columns.start == 25 and liar in ("h0", "h1"):  # a block that counts for nothing
        assert np.array_equal(
            codewords.answer(joint.codes, total), field.add(one.vector[:25], two.vector[:25])
        )
        return
    with pytest.raises(UnattributableFault):
        codewords.answer(joint.codes, total)
    second = columns.start == 25  # of the other vault 2T+1 deal: noticed, not named
    assert codewords.liars(joint.codes, total) == (() if second else (party,))


def test_too_few_dealers_to_check_each_other_are_refused() -> None:
    _, _, joint = two_vaults()
    few = replace(joint, parts=(replace(joint.parts[0], seats=(0, 2)), joint.parts[1]))
    with pytest.raises(MalformedMessage, match="2T\\+1"):
        joints.check_joint(few, MESH)


def test_a_sum_with_the_requesters_own_vault_is_no_sum_of_two_owners() -> None:
    one, two = deposited(4, 1, min_sites=2), other_vault()
    wanted = company(one, (two.standing.vault, two.owner.party), requester=two.owner)
    joint = VaultJoint(wanted, (Part(one.standing, (0, 2), ()), Part(two.standing, (0, 3), ())))
    with pytest.raises(MalformedMessage, match="1 owners where 2"):
        joints.check_joint(joint, MESH)
