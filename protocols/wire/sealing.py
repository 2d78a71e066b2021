"""Shares sealed to one member, with a way to prove to everybody what was inside.

ECIES on the prime-order subgroup of edwards25519 (G generates it, order q). A member whose sealed share
is bad opens that sealing to all by publishing the shared point and a proof (complaint); everybody then
sees either the same bad share or that the ciphertext does not open, and blames the dealer.

    seal     e random, E = e G, S = e R (R = x G the recipient's key), u(S) its Montgomery coordinate,
             key = BLAKE2b(u(S), E, R, context),
             box = XChaCha20-Poly1305(key, plaintext), proof of knowledge of e bound to R, context and box;
             sealed = E || proof || box
    unseal   S = x E, the same key
    disclose S and a Chaum-Pedersen proof (CRYPTO '92) that log_G R = log_E S

Soundness. E, R and the proof fix S (the proof is false for any other point except with chance about
2^-252 a hash), S fixes the key, the key fixes plaintext or failure. So a member can neither frame a
dealer nor show another plaintext, although the AEAD alone commits to no key.

Disclosing one shared point exposes only that sealing. A dealer might copy the E of an honest dealer's
sealing to the same member, or shift it to E + r G, send rubbish and wait for the member to publish x E,
which would open the honest one. It cannot: the sealing must carry a proof that its maker knows e, bound
to this recipient, context and box, and `disclose` refuses a sealing without a good one (as everybody's
`open_disclosed` blames its dealer without any disclosure). When the proof is good the maker could compute
S = e R itself, so publishing S tells a corrupted dealer nothing new, the DLEQ proof is zero-knowledge,
and other sealings have other, independent e. `unseal` may skip the proof: it publishes nothing.

Sealing and unsealing compute u(S) by X25519 (RFC 7748), a third of the time of a checked Edwards product.
Its scalars are multiples of 8 with bit 254 set: e is drawn as one, and for x there is an x' of that form with
x' = x or -x mod q (`_clamped`), which does as well since u(S) = u(-S). Unsealing does not check E first: a
multiple of 8 clears what small subgroups add, the twist is as hard as the curve (X25519 is made for that),
nothing is published, and a share that came well through a bad E harms nobody. Whoever blames checks E.

The context MUST name the dealer (and session, stage, generation, seat): otherwise a whole sealing could
be replayed as one's own.

Points from outside must be canonical, on the curve and in the subgroup, not the identity; scalars are
nonzero, so libsodium's refusal to return the identity never strikes an honest party.

Symbols: q order of G, p = 2^255-19; x, e, k secret scalars; R, E, S, A, B points; c challenge, z response.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse, MalformedMessage

POINT_BYTES: Final = 32
PROOF_BYTES: Final = 64
OVERHEAD_BYTES: Final = POINT_BYTES + PROOF_BYTES + 16
_NONCE: Final = bytes(24)
"""Zero: every key encrypts once."""
_FIELD: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_KEYS_KEPT: Final = 64


class SealBroken(MalformedMessage):
    """A sealing that does not open: its maker's fault, and provably so."""


@dataclass(frozen=True, slots=True, repr=False)
class Disclosure:
    """What opens one sealing to everybody: the shared point and the proof that it is the right one."""

    shared_point: bytes
    challenge: bytes
    response: bytes


NOTHING: Final = Disclosure(bytes(POINT_BYTES), b"", b"")
"""Disclosure of a sealing whose point or proof of knowledge is bad, which everybody sees without help."""


def keypair(seed: bytes) -> tuple[bytes, bytes]:
    """(secret scalar, public point), 32 bytes each, a function of `seed`."""
    secret = _scalar(Xof(seed, "sealing/key"))
    return secret, sodium.crypto_scalarmult_ed25519_base_noclamp(secret)


def is_point(data: bytes) -> bool:
    """Whether these bytes are a usable public key: canonical, prime-order subgroup, not the identity."""
    return len(data) == POINT_BYTES and sodium.crypto_core_ed25519_is_valid_point(bytes(data))


def seal(recipient_public: bytes, plaintext: bytes, context: bytes, seed: bytes) -> bytes:
    """Encrypt to the holder of `recipient_public`; OVERHEAD_BYTES longer than `plaintext`.

    A function of its arguments: the same seed never makes one key for two plaintexts. Raises
    MalformedMessage for a recipient key that is no valid point.
    """
    u = _checked_coordinate(bytes(recipient_public))
    inputs = (recipient_public, context, hashlib.blake2b(plaintext, digest_size=32).digest())
    xof = Xof(seed, "sealing/ephemeral", *inputs)
    e, k = _ephemeral(xof), _scalar(xof)
    E = sodium.crypto_scalarmult_ed25519_base_noclamp(e)
    key = _key(sodium.crypto_scalarmult(e, u), E, recipient_public, context)
    box = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, None, _NONCE, key)
    c = _knowledge_challenge(
        sodium.crypto_scalarmult_ed25519_base_noclamp(k), E, recipient_public, context, box
    )
    return E + c + _add_multiple(k, c, e) + box


def unseal(secret: bytes, sealed: bytes, context: bytes) -> bytes:
    """The plaintext. Raises SealBroken when the sealing does not open."""
    if len(sealed) < OVERHEAD_BYTES:
        raise SealBroken("a sealed share is too short")
    E, box = sealed[:POINT_BYTES], sealed[POINT_BYTES + PROOF_BYTES :]
    clamped, R = _own(bytes(secret))
    u = _coordinate(E)
    try:
        shared = None if u is None else sodium.crypto_scalarmult(clamped, u)
    except RuntimeError:  # E is of small order
        shared = None
    plaintext = None if shared is None else _open(shared, E, R, context, box)
    if plaintext is None:
        raise SealBroken("a sealed share does not open")
    return plaintext


def disclose(secret: bytes, sealed: bytes, context: bytes) -> Disclosure:
    """What lets everybody open this one sealing; NOTHING when its badness shows without."""
    R = sodium.crypto_scalarmult_ed25519_base_noclamp(secret)
    parts = _split(sealed)
    if parts is None or not _knows(parts, R, context):
        return NOTHING
    E = parts[0]
    S = sodium.crypto_scalarmult_ed25519_noclamp(secret, E)
    k = _scalar(Xof(secret, "sealing/disclosure", E, S, context))
    A = sodium.crypto_scalarmult_ed25519_base_noclamp(k)
    B = sodium.crypto_scalarmult_ed25519_noclamp(k, E)
    c = _disclosure_challenge(R, E, S, A, B, context)
    return Disclosure(S, c, _add_multiple(k, c, secret))


def open_disclosed(
    recipient_public: bytes, sealed: bytes, context: bytes, disclosure: Disclosure
) -> bytes | None:
    """The plaintext of a disclosed sealing, or None when it does not open: then its maker is at fault.

    Raises MalformedMessage when the disclosure is false: then the recipient is at fault.
    """
    if not is_point(recipient_public):
        raise MalformedMessage("the recipient's sealing key is not a valid point")
    parts = _split(sealed)
    if parts is None or not _knows(parts, recipient_public, context):
        return None
    E, _, box = parts
    S, c, z = disclosure.shared_point, disclosure.challenge, disclosure.response
    if not (is_point(S) and _is_scalar(c) and _is_scalar(z)):
        raise MalformedMessage("a disclosure holds no valid point and scalars")
    A = _commitment(sodium.crypto_scalarmult_ed25519_base_noclamp(z), c, recipient_public)
    B = _commitment(sodium.crypto_scalarmult_ed25519_noclamp(z, E), c, S)
    if _disclosure_challenge(recipient_public, E, S, A, B, context) != c:
        raise MalformedMessage("a disclosure's proof is false")
    u = _coordinate(S)
    return None if u is None else _open(u, E, recipient_public, context, box)


def _split(sealed: bytes) -> tuple[bytes, bytes, bytes] | None:
    """(E, proof, box), or None when too short or E is invalid."""
    if len(sealed) < OVERHEAD_BYTES or not is_point(sealed[:POINT_BYTES]):
        return None
    end = POINT_BYTES + PROOF_BYTES
    return sealed[:POINT_BYTES], sealed[POINT_BYTES:end], sealed[end:]


def _knows(parts: tuple[bytes, bytes, bytes], recipient: bytes, context: bytes) -> bool:
    """Whether the maker proved (Schnorr) that it knows e with E = e G."""
    E, proof, box = parts
    c, z = proof[:32], proof[32:]
    if not (_is_scalar(c) and _is_scalar(z)):
        return False
    K = _commitment(sodium.crypto_scalarmult_ed25519_base_noclamp(z), c, E)
    return _knowledge_challenge(K, E, recipient, context, box) == c


def _commitment(zG: bytes, c: bytes, point: bytes) -> bytes:
    """z G - c point: what the prover committed to if the proof is true."""
    return sodium.crypto_core_ed25519_sub(zG, sodium.crypto_scalarmult_ed25519_noclamp(c, point))


def _coordinate(point: bytes) -> bytes | None:
    """u = (1 + y) / (1 - y) mod p of an Edwards point, valid or not; None for the identity."""
    y = int.from_bytes(point, "little") & ((1 << 255) - 1)
    if y % _FIELD == 1:
        return None
    return ((1 + y) * pow(1 - y, -1, _FIELD) % _FIELD).to_bytes(32, "little")


@lru_cache(_KEYS_KEPT)
def _checked_coordinate(public: bytes) -> bytes:
    """u of a recipient's key. Raises MalformedMessage."""
    u = _coordinate(public) if is_point(public) else None
    if u is None:
        raise MalformedMessage("the recipient's sealing key is not a valid point")
    return u


@lru_cache(_KEYS_KEPT)
def _own(secret: bytes) -> tuple[bytes, bytes]:
    """x' and R of our own secret x, which is in memory anyway."""
    return _clamped(secret), sodium.crypto_scalarmult_ed25519_base_noclamp(secret)


def _clamped(secret: bytes) -> bytes:
    """A multiple of 8 in [2^254, 2^255) that is x or -x mod q, for 0 < x < q.

    Of x + j q, j = 0..7, one is a multiple of 8; of -x it is the one of 7 - j. So for one of the two j is 4
    or more, and x + j q is in [2^254, 8 q). It is below 2^255 but for x among the last 2^128 below q.
    """
    x = int.from_bytes(secret, "little")
    for residue in (x, _ORDER - x):
        j = -residue * pow(_ORDER, -1, 8) % 8
        found = residue + j * _ORDER
        if 1 << 254 <= found < 1 << 255:
            return found.to_bytes(32, "little")
    raise LocalMisuse("a secret scalar is not in range", fix="make sealing keys with `keypair`")


def _key(shared: bytes, E: bytes, R: bytes, context: bytes) -> bytes:
    return _hash(b"seal-key", shared, E, R, context)[:32]


def _open(shared: bytes, E: bytes, R: bytes, context: bytes, box: bytes) -> bytes | None:
    key = _key(shared, E, R, context)
    try:
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(box, None, _NONCE, key)
    except CryptoError:
        return None


def _hash(label: bytes, *parts: bytes) -> bytes:
    """64 bytes of BLAKE2b over the length-framed parts."""
    state = hashlib.blake2b(person=label)
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def _knowledge_challenge(K: bytes, E: bytes, R: bytes, context: bytes, box: bytes) -> bytes:
    return sodium.crypto_core_ed25519_scalar_reduce(_hash(b"seal-knowledge", K, E, R, context, box))


def _disclosure_challenge(R: bytes, E: bytes, S: bytes, A: bytes, B: bytes, context: bytes) -> bytes:
    return sodium.crypto_core_ed25519_scalar_reduce(_hash(b"seal-disclosure", R, E, S, A, B, context))


def _add_multiple(k: bytes, c: bytes, x: bytes) -> bytes:
    """k + c x mod q."""
    return sodium.crypto_core_ed25519_scalar_add(k, sodium.crypto_core_ed25519_scalar_mul(c, x))


def _is_scalar(data: bytes) -> bool:
    """Canonical and nonzero."""
    if len(data) != 32 or data == bytes(32):
        return False
    return sodium.crypto_core_ed25519_scalar_reduce(data + bytes(32)) == data


def _ephemeral(xof: Xof) -> bytes:
    """A random scalar of the form that X25519 takes: a multiple of 8 with bit 254 set."""
    drawn = bytearray(xof.read(32))
    drawn[0] &= 248
    drawn[31] = drawn[31] & 127 | 64
    return bytes(drawn)


def _scalar(xof: Xof) -> bytes:
    """Uniform mod q up to 2^-259, nonzero."""
    scalar = sodium.crypto_core_ed25519_scalar_reduce(xof.read(64))
    if scalar == bytes(32):
        raise LocalMisuse("a random scalar came out as zero", fix="the seed is not random")
    return scalar
