"""RFC 9381 appendix B.3, examples 16 to 18, and proofs that must be refused."""

from __future__ import annotations

import hashlib

import pytest
from nacl import bindings
from nacl.signing import SigningKey

from protocols.errors import LocalMisuse, MalformedMessage
from protocols.randomness import ecvrf

EXAMPLES = {
    "example-16": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f"
        "26f8a57ccaed74ee1b190bed1f479d97"
        "27d2d0f9b005a6e456a35d4fb0daab1268a1b0db10836d9826a528ca76567805",
        "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff"
        "66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae",
    ),
    "example-17": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed593"
        "3bf0864a62558b3ed7f2fea45c92a465"
        "301b3bbf5e3e54ddf2d935be3b67926da3ef39226bbc355bdc9850112c8f4b02",
        "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb"
        "5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031",
    ),
    "example-18": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf80"
        "96bb474e53895c362d8628ee9f9ea3c0"
        "e52c7a5c691b6c18c9979866568add7a2d41b00b05081ed0f58ee5e31b3a970e",
        "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c45"
        "2118fec1219202a0edcf038bb6373241578be7217ba85a2687f7a0310b2df19f",
    ),
}
IDENTITY = b"\x01" + bytes(31)
ORDER = 2**252 + 27742317777372353535851937790883648493
SEED = bytes(range(32))


@pytest.mark.parametrize("example", EXAMPLES)
def test_rfc_example(example: str) -> None:
    seed, public, alpha, proof, beta = (bytes.fromhex(value) for value in EXAMPLES[example])
    assert ecvrf.keypair(seed)[1] == public
    assert ecvrf.prove(seed, alpha) == proof
    assert ecvrf.verify(public, alpha, proof) == beta
    assert ecvrf.output(proof) == beta


@pytest.mark.parametrize("byte", range(ecvrf.PROOF_BYTES))
def test_any_flipped_byte_is_refused(byte: int) -> None:
    public, proof = ecvrf.keypair(SEED)[1], bytearray(ecvrf.prove(SEED, b"input"))
    proof[byte] ^= 1 << (byte % 8)
    with pytest.raises(MalformedMessage):
        ecvrf.verify(public, b"input", bytes(proof))


def test_another_input_or_key_is_refused() -> None:
    proof = ecvrf.prove(SEED, b"input")
    with pytest.raises(MalformedMessage, match="does not match"):
        ecvrf.verify(ecvrf.keypair(SEED)[1], b"other", proof)
    with pytest.raises(MalformedMessage, match="does not match"):
        ecvrf.verify(ecvrf.keypair(bytes(32))[1], b"input", proof)


def test_unreduced_scalar_is_refused_as_a_second_proof() -> None:
    proof = ecvrf.prove(SEED, b"input")
    raised = int.from_bytes(proof[48:], "little") + ORDER
    with pytest.raises(MalformedMessage, match="not reduced"):
        ecvrf.verify(ecvrf.keypair(SEED)[1], b"input", proof[:48] + raised.to_bytes(32, "little"))


def test_zero_scalars_are_refused() -> None:
    proof = ecvrf.prove(SEED, b"input")
    public = ecvrf.keypair(SEED)[1]
    with pytest.raises(MalformedMessage, match="zero"):
        ecvrf.verify(public, b"input", proof[:48] + bytes(32))
    with pytest.raises(MalformedMessage, match="zero"):
        ecvrf.verify(public, b"input", proof[:32] + bytes(16) + proof[48:])


SMALL_ORDER = [
    IDENTITY,
    bytes(32),
    (2**255 - 20).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_small_order_points_are_refused(point: bytes) -> None:
    proof = ecvrf.prove(SEED, b"input")
    with pytest.raises(MalformedMessage, match="key is not"):
        ecvrf.verify(point, b"input", proof)
    with pytest.raises(MalformedMessage, match="Gamma"):
        ecvrf.verify(ecvrf.keypair(SEED)[1], b"input", point + proof[32:])


def test_points_with_a_torsion_part_are_refused() -> None:
    public, proof = ecvrf.keypair(SEED)[1], ecvrf.prove(SEED, b"input")
    torsion = SMALL_ORDER[3]
    mixed_key = bindings.crypto_core_ed25519_add(public, torsion)
    mixed_gamma = bindings.crypto_core_ed25519_add(proof[:32], torsion)
    with pytest.raises(MalformedMessage, match="key is not"):
        ecvrf.verify(mixed_key, b"input", proof)
    with pytest.raises(MalformedMessage, match="Gamma"):
        ecvrf.verify(public, b"input", mixed_gamma + proof[32:])


@pytest.mark.parametrize("size", [0, 31, 79, 81])
def test_wrong_sizes_are_refused(size: int) -> None:
    public, proof = ecvrf.keypair(SEED)[1], ecvrf.prove(SEED, b"input")
    with pytest.raises(MalformedMessage):
        ecvrf.verify(public, b"input", (proof + b"\0")[:size])
    with pytest.raises(MalformedMessage):
        ecvrf.verify((public + bytes(64))[: size if size != 32 else 33], b"input", proof)
    with pytest.raises(LocalMisuse):
        ecvrf.prove(bytes(size), b"input")


def test_vrf_key_is_the_ed25519_key_of_the_same_seed() -> None:
    assert ecvrf.keypair(SEED)[1] == bytes(SigningKey(SEED).verify_key)


def test_outputs_of_many_inputs_look_uniform() -> None:
    """Mean of the first 64 bits of 400 outputs; six standard errors."""
    inputs = [hashlib.sha256(i.to_bytes(2, "big")).digest() for i in range(400)]
    outputs = [ecvrf.output(ecvrf.prove(SEED, alpha)) for alpha in inputs]
    mean = sum(int.from_bytes(beta[:8], "big") / 2**64 for beta in outputs) / len(outputs)
    assert abs(mean - 0.5) < 6 * (1 / 12) ** 0.5 / 20
