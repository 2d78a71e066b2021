"""Sealing and public disclosure: neither the dealer nor the recipient can frame the other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings as sodium

from protocols.arithmetic.xof import Xof
from protocols.errors import MalformedMessage
from protocols.wire import sealing
from protocols.wire.sealing import Disclosure, SealBroken

SECRET, PUBLIC = sealing.keypair(b"r" * 32)
OTHER_SECRET, OTHER_PUBLIC = sealing.keypair(b"o" * 32)
CONTEXT = b"mesh, session, stage, dealer A, seat 3"
PLAINTEXT = b"a share of something private"
DEALER_SEED = b"d" * 32
ORDER = 2**252 + 27742317777372353535851937790883648493


def sealed(plaintext: bytes = PLAINTEXT, context: bytes = CONTEXT, seed: bytes = DEALER_SEED) -> bytes:
    return sealing.seal(PUBLIC, plaintext, context, seed)


def flip(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes((data[bit // 8] ^ 1 << bit % 8,)) + data[bit // 8 + 1 :]


def rebox(box: bytes, context: bytes = CONTEXT) -> bytes:
    """A malicious dealer's sealing: a good proof for its own ephemeral, around any box."""
    e, k = (sodium.crypto_core_ed25519_scalar_reduce(Xof(b"evil" * 8, name).read(64)) for name in ("e", "k"))
    E, K = (sodium.crypto_scalarmult_ed25519_base_noclamp(scalar) for scalar in (e, k))
    c = sealing._knowledge_challenge(K, E, PUBLIC, context, box)
    return E + c + sealing._add_multiple(k, c, e) + box


@given(st.binary(max_size=300))
@settings(max_examples=30)
def test_round_trip_in_private_and_in_public(plaintext: bytes) -> None:
    blob = sealed(plaintext)
    assert len(blob) == len(plaintext) + sealing.OVERHEAD_BYTES
    assert sealing.unseal(SECRET, blob, CONTEXT) == plaintext
    disclosure = sealing.disclose(SECRET, blob, CONTEXT)
    assert sealing.open_disclosed(PUBLIC, blob, CONTEXT, disclosure) == plaintext


def test_keypairs_come_from_the_seed_and_are_valid() -> None:
    assert sealing.keypair(b"r" * 32) == (SECRET, PUBLIC)
    assert sealing.is_point(PUBLIC)
    assert sodium.crypto_scalarmult_ed25519_base_noclamp(SECRET) == PUBLIC
    assert PUBLIC != OTHER_PUBLIC


def test_only_the_recipient_in_the_same_context_unseals() -> None:
    blob = sealed()
    with pytest.raises(SealBroken):
        sealing.unseal(OTHER_SECRET, blob, CONTEXT)
    for context in (b"", CONTEXT + b"x", CONTEXT.replace(b"dealer A", b"dealer B")):
        with pytest.raises(SealBroken):
            sealing.unseal(SECRET, blob, context)


def test_every_flipped_bit_of_point_or_box_breaks_the_seal() -> None:
    """Bits of the proof of knowledge matter to the public only."""
    blob = sealed(b"short")
    proof = range(32 * 8, 96 * 8)
    for bit in range(len(blob) * 8):
        bad = flip(blob, bit)
        if bit not in proof:
            with pytest.raises(SealBroken):
                sealing.unseal(SECRET, bad, CONTEXT)
        assert sealing.disclose(SECRET, bad, CONTEXT) == sealing.NOTHING
        assert sealing.open_disclosed(PUBLIC, bad, CONTEXT, sealing.NOTHING) is None


def test_truncated_sealings_are_broken_and_visibly_so() -> None:
    blob = sealed()
    for bad in (b"", blob[:31], blob[:96], blob[: sealing.OVERHEAD_BYTES - 1]):
        with pytest.raises(SealBroken):
            sealing.unseal(SECRET, bad, CONTEXT)
        assert sealing.disclose(SECRET, bad, CONTEXT) == sealing.NOTHING
        assert sealing.open_disclosed(PUBLIC, bad, CONTEXT, sealing.NOTHING) is None


def test_a_dealers_rubbish_is_shown_to_everybody() -> None:
    """The dealer knows its ephemeral but the box does not open: the disclosure proves it."""
    blob = rebox(bytes(60))
    with pytest.raises(SealBroken):
        sealing.unseal(SECRET, blob, CONTEXT)
    disclosure = sealing.disclose(SECRET, blob, CONTEXT)
    assert disclosure != sealing.NOTHING
    assert sealing.open_disclosed(PUBLIC, blob, CONTEXT, disclosure) is None


def test_a_recipient_cannot_make_a_good_sealing_look_broken() -> None:
    """A wrong shared point, NOTHING, or any flipped bit of the proof is the recipient's fault."""
    blob = sealed()
    true = sealing.disclose(SECRET, blob, CONTEXT)
    wrong_point = sodium.crypto_scalarmult_ed25519_noclamp(OTHER_SECRET, blob[:32])
    false = [
        sealing.NOTHING,
        Disclosure(wrong_point, true.challenge, true.response),
        Disclosure(blob[:32], true.challenge, true.response),
        sealing.disclose(OTHER_SECRET, blob, CONTEXT),
        Disclosure(true.shared_point, true.response, true.challenge),
        Disclosure(true.shared_point, true.challenge, bytes(32)),
        Disclosure(true.shared_point, bytes(32), true.response),
        Disclosure(bytes(31), true.challenge, true.response),
        Disclosure(true.shared_point, true.challenge, true.response + b"\x00"),
        Disclosure(bytes((1,)) + bytes(31), true.challenge, true.response),
    ]
    false += [
        Disclosure(true.shared_point, flip(true.challenge, bit), true.response) for bit in range(0, 256, 5)
    ]
    false += [
        Disclosure(true.shared_point, true.challenge, flip(true.response, bit)) for bit in range(0, 256, 5)
    ]
    false += [
        Disclosure(flip(true.shared_point, bit), true.challenge, true.response) for bit in range(0, 256, 5)
    ]
    for disclosure in false:
        with pytest.raises(MalformedMessage):
            sealing.open_disclosed(PUBLIC, blob, CONTEXT, disclosure)
    with pytest.raises(MalformedMessage):
        sealing.open_disclosed(OTHER_PUBLIC, rebox_for(OTHER_PUBLIC), CONTEXT, true)


def rebox_for(recipient: bytes) -> bytes:
    return sealing.seal(recipient, PLAINTEXT, CONTEXT, b"z" * 32)


def test_scalars_have_one_form() -> None:
    """Response + group order is the same scalar: accepting it would make two disclosures of one."""
    blob = sealed()
    true = sealing.disclose(SECRET, blob, CONTEXT)
    shifted = (int.from_bytes(true.response, "little") + ORDER).to_bytes(32, "little")
    with pytest.raises(MalformedMessage):
        sealing.open_disclosed(PUBLIC, blob, CONTEXT, Disclosure(true.shared_point, true.challenge, shifted))


def test_a_disclosure_opens_no_other_sealing_of_the_same_dealer() -> None:
    first, second = sealed(b"first"), sealed(b"second")
    disclosure = sealing.disclose(SECRET, first, CONTEXT)
    assert first[:32] != second[:32]
    with pytest.raises(MalformedMessage):
        sealing.open_disclosed(PUBLIC, second, CONTEXT, disclosure)


def test_a_stolen_ephemeral_is_never_disclosed() -> None:
    """Mallory reuses an honest E (or E + rG, or all of it) to have x E published: Mallory is blamed."""
    honest = sealed()
    mallory = CONTEXT.replace(b"dealer A", b"dealer M")
    shift = sodium.crypto_scalarmult_ed25519_base_noclamp(OTHER_SECRET)
    shifted = sodium.crypto_core_ed25519_add(honest[:32], shift) + honest[32:]
    own_proof = honest[:32] + rebox(honest[96:], mallory)[32:]
    for stolen in (honest, shifted, own_proof):
        with pytest.raises(SealBroken):
            sealing.unseal(SECRET, stolen, mallory)
        disclosure = sealing.disclose(SECRET, stolen, mallory)
        assert disclosure == sealing.NOTHING
        assert sealing.open_disclosed(PUBLIC, stolen, mallory, disclosure) is None


def test_invalid_points_are_refused_everywhere() -> None:
    identity = bytes((1,)) + bytes(31)
    small = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
    mixed = sodium.crypto_core_ed25519_add(PUBLIC, small)
    off_curve = bytes((2,)) + bytes(31)
    unreduced = b"\xff" * 31 + b"\x7f"
    for point in (identity, small, mixed, off_curve, unreduced, bytes(32), b"", PUBLIC[:31]):
        assert not sealing.is_point(point)
        with pytest.raises(MalformedMessage):
            sealing.seal(point, PLAINTEXT, CONTEXT, DEALER_SEED)
        with pytest.raises(MalformedMessage):
            sealing.open_disclosed(point, sealed(), CONTEXT, sealing.NOTHING)
        if len(point) == 32:
            blob = point + sealed()[32:]
            with pytest.raises(SealBroken):
                sealing.unseal(SECRET, blob, CONTEXT)
            assert sealing.disclose(SECRET, blob, CONTEXT) == sealing.NOTHING


def test_sealings_are_reproducible_and_never_share_a_key() -> None:
    assert sealed() == sealed()
    others = [
        sealed(b"x"),
        sealed(context=b"x"),
        sealed(seed=b"x" * 32),
        sealing.seal(OTHER_PUBLIC, PLAINTEXT, CONTEXT, DEALER_SEED),
    ]
    assert len({blob[:32] for blob in [sealed(), *others]}) == 5


def test_reprs_show_nothing() -> None:
    disclosure = sealing.disclose(SECRET, sealed(), CONTEXT)
    assert disclosure.shared_point.hex() not in repr(disclosure)
    assert repr(disclosure.shared_point) not in repr(disclosure)


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=60)
def test_every_key_has_a_scalar_of_the_form_that_x25519_takes(seed: bytes) -> None:
    secret, public = sealing.keypair(seed)
    clamped = sealing._clamped(secret)
    assert clamped[0] % 8 == 0
    assert clamped[31] >> 6 == 1
    opposite = sodium.crypto_core_ed25519_sub(bytes([1, *bytes(31)]), public)
    assert sodium.crypto_scalarmult_ed25519_base_noclamp(clamped) in (public, opposite)


@pytest.mark.parametrize("y", [0, 1, 2, ORDER, 2**255 - 20, 2**255 - 18, 2**255 - 1, 2**256 - 1])
def test_points_of_small_order_or_off_the_curve_open_nothing_and_are_blamed(y: int) -> None:
    bad = y.to_bytes(32, "little") + sealed()[32:]
    with pytest.raises(SealBroken):
        sealing.unseal(SECRET, bad, CONTEXT)
    assert sealing.disclose(SECRET, bad, CONTEXT) == sealing.NOTHING
    assert sealing.open_disclosed(PUBLIC, bad, CONTEXT, sealing.NOTHING) is None
