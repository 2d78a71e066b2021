"""Envelopes: what one party signed for one place is accepted there, unchanged, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from protocols.errors import LocalMisuse, MalformedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.wire import codec, envelope
from protocols.wire.envelope import Envelope

SEED = bytes(range(32))
MESH = Digest(b"m" * 32)
SESSION = SessionId(b"s" * 32)
SMALL_ORDER = [
    bytes(32),
    bytes((1,)) + bytes(31),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]
ORDER = 2**252 + 27742317777372353535851937790883648493


def signed(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "mesh": MESH,
        "session": SESSION,
        "epoch": 4,
        "stage": -1,
        "kind": "part",
        "body": b"body",
    }
    return envelope.sign(SEED, **{**fields, **changes})


def test_round_trip() -> None:
    opened = envelope.verify(signed(), mesh=MESH)
    assert (opened.session, opened.epoch, opened.stage, opened.kind, opened.body) == (
        SESSION,
        4,
        -1,
        "part",
        b"body",
    )
    assert opened.sender == envelope.party_of(SEED) == PartyId(bytes(SigningKey(SEED).verify_key))
    assert signed() == envelope.sign(
        SigningKey(SEED), mesh=MESH, session=SESSION, epoch=4, stage=-1, kind="part", body=b"body"
    )


def test_every_flipped_bit_is_refused() -> None:
    good = signed()
    for at in range(len(good)):
        for bit in range(8):
            bad = good[:at] + bytes((good[at] ^ 1 << bit,)) + good[at + 1 :]
            with pytest.raises(MalformedMessage):
                envelope.verify(bad, mesh=MESH)


def test_truncated_extended_and_empty_envelopes_are_refused() -> None:
    good = signed()
    for bad in (b"", good[:-1], good + b"\x00", good[1:], good * 2):
        with pytest.raises(MalformedMessage):
            envelope.verify(bad, mesh=MESH)


@given(st.binary(max_size=300))
@settings(max_examples=100)
def test_random_bytes_raise_nothing_but_malformed_message(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        envelope.verify(data, mesh=MESH)


@pytest.mark.parametrize(
    "changes",
    [
        {"mesh": Digest(b"n" * 32)},
        {"session": SessionId(b"t" * 32)},
        {"epoch": 5},
        {"stage": 0},
        {"kind": "deal"},
        {"body": b"bodY"},
    ],
)
def test_a_signature_does_not_move_to_another_place(changes: dict[str, Any]) -> None:
    moved = signed(**changes)[:-64] + signed()[-64:]
    mesh = changes.get("mesh", MESH)
    with pytest.raises(MalformedMessage, match="signature") as caught:
        envelope.verify(moved, mesh=mesh)
    assert caught.value.blame is None
    assert envelope.verify(signed(**changes), mesh=mesh).sender == envelope.party_of(SEED)


def test_another_mesh_is_refused_although_the_signature_is_good() -> None:
    with pytest.raises(MalformedMessage, match="not of ours"):
        envelope.verify(signed(mesh=Digest(b"n" * 32)), mesh=MESH)


def test_another_sender_is_refused() -> None:
    opened = envelope.verify(signed(), mesh=MESH)
    fields = {name: getattr(opened, name) for name in Envelope.__slots__}
    stolen = Envelope(**{**fields, "sender": envelope.party_of(b"x" * 32)})
    with pytest.raises(MalformedMessage, match="signature"):
        envelope.verify(codec.encode(stolen), mesh=MESH)


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_small_order_keys_sign_nothing(key: bytes) -> None:
    """With a small-order key, R = S B and any message would verify in lax implementations."""
    party = PartyId(key)
    for signature in (bytes(64), bytes((1,)) + bytes(63), key + bytes(32)):
        assert not envelope.check_statement(party, "x", b"payload", signature)


def test_a_signature_with_s_plus_the_group_order_is_refused() -> None:
    party, good = envelope.party_of(SEED), envelope.sign_statement(SEED, "x", b"payload")
    shifted = int.from_bytes(good[32:], "little") + ORDER
    assert envelope.check_statement(party, "x", b"payload", good)
    assert not envelope.check_statement(party, "x", b"payload", good[:32] + shifted.to_bytes(32, "little"))


def test_statements_are_bound_to_party_label_and_payload() -> None:
    party, signature = envelope.party_of(SEED), envelope.sign_statement(SEED, "roster", b"payload")
    assert len(signature) == 64
    assert envelope.check_statement(party, "roster", b"payload", signature)
    assert not envelope.check_statement(party, "result", b"payload", signature)
    assert not envelope.check_statement(party, "roster", b"payloaD", signature)
    assert not envelope.check_statement(party, "roste", b"rpayload", signature)
    assert not envelope.check_statement(envelope.party_of(b"x" * 32), "roster", b"payload", signature)
    assert not envelope.check_statement(party, "roster", b"payload", signature[:-1])
    assert not envelope.check_statement(party, "roster", b"payload", b"")


def test_a_statement_never_serves_as_an_envelope_signature() -> None:
    good = signed()
    for label in ("envelope", "part"):
        forged = good[:-64] + envelope.sign_statement(SEED, label, good[:-64])
        with pytest.raises(MalformedMessage, match="signature"):
            envelope.verify(forged, mesh=MESH)


def test_sizes_are_bounded_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LocalMisuse):
        signed(kind="k" * 33)
    with pytest.raises(LocalMisuse):
        signed(stage=-2)
    with pytest.raises(LocalMisuse):
        signed(epoch=-1)
    with pytest.raises(LocalMisuse):
        signed(body=bytes(envelope.MAX_BODY_BYTES + 1))
    monkeypatch.setattr(envelope, "MAX_ENVELOPE_BYTES", len(signed()) - 1)
    with pytest.raises(MalformedMessage, match="are allowed"):
        envelope.verify(signed(), mesh=MESH)


def test_the_largest_body_fits() -> None:
    data = signed(body=bytes(envelope.MAX_BODY_BYTES), kind="k" * 32, epoch=2**48, stage=2**16)
    assert len(data) <= envelope.MAX_ENVELOPE_BYTES
    assert len(envelope.verify(data, mesh=MESH).body) == envelope.MAX_BODY_BYTES
