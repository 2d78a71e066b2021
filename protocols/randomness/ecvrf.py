"""Verifiable random function ECVRF-EDWARDS25519-SHA512-TAI: one output per key and input, with a proof.

Source: RFC 9381, section 5 with suite 0x03 (5.5); hashing to the curve by try-and-increment (5.4.1.1),
nonces as in RFC 8032 (5.4.2.2), key validation always on (5.4.5). Arithmetic is libsodium's.

Stricter than the RFC in one point: a public key or Gamma outside the prime-order subgroup is refused,
where the RFC refuses keys of small order only. No honest prover makes either, the output is the same,
and so a (key, input) has exactly one Gamma that verifies.

Invariant: `verify(public, alpha, prove(seed, alpha))` returns the same 64 bytes for everybody, and
nobody without the seed can predict them or prove any others.

Symbols (RFC 9381): x secret scalar, Y = x*B public key, alpha input, H = alpha hashed to the curve,
Gamma = x*H, k nonce, c challenge, s = k + c*x mod q, q group order, beta output, pi proof = Gamma|c|s.
"""

from __future__ import annotations

import hashlib

from nacl import bindings
from nacl.exceptions import RuntimeError as SodiumError

from protocols.errors import LocalMisuse, MalformedMessage

PROOF_BYTES = 80
OUTPUT_BYTES = 64

_SUITE = b"\x03"
_ENCODE, _CHALLENGE, _OUTPUT, _END = b"\x01", b"\x02", b"\x03", b"\x00"
_C_BYTES = 16
_Q = 2**252 + 27742317777372353535851937790883648493
_FIELD_PRIME = 2**255 - 19
_TRIES = 256


def keypair(seed: bytes) -> tuple[bytes, bytes]:
    """(secret scalar x, public key Y), 32 bytes each, of a 32-byte seed. Raises LocalMisuse."""
    x, _ = _expand(seed)
    return x, bindings.crypto_scalarmult_ed25519_base_noclamp(x)


def prove(seed: bytes, alpha: bytes) -> bytes:
    """The 80-byte proof pi for `alpha` (RFC 9381, 5.1). Raises LocalMisuse unless the seed has 32 bytes."""
    x, nonce_key = _expand(seed)
    Y = bindings.crypto_scalarmult_ed25519_base_noclamp(x)
    H = _hash_to_curve(Y, alpha)
    Gamma = bindings.crypto_scalarmult_ed25519_noclamp(x, H)
    k = bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(nonce_key + H).digest())
    U = bindings.crypto_scalarmult_ed25519_base_noclamp(k)
    V = bindings.crypto_scalarmult_ed25519_noclamp(k, H)
    c = _challenge(Y, H, Gamma, U, V)
    s = bindings.crypto_core_ed25519_scalar_add(k, bindings.crypto_core_ed25519_scalar_mul(_widen(c), x))
    return Gamma + c + s


def verify(public: bytes, alpha: bytes, proof: bytes) -> bytes:
    """The 64-byte output beta if `proof` is right for (public, alpha) (RFC 9381, 5.3).

    Raises MalformedMessage for an invalid key, point or scalar, or a false proof.
    """
    if not _is_valid_point(public):
        raise MalformedMessage("VRF key is not a point of the prime-order group")
    if len(proof) != PROOF_BYTES:
        raise MalformedMessage(f"VRF proof has {len(proof)} bytes, not {PROOF_BYTES}")
    Gamma, c, s = proof[:32], proof[32 : 32 + _C_BYTES], proof[32 + _C_BYTES :]
    if not _is_valid_point(Gamma):
        raise MalformedMessage("VRF proof: Gamma is not a point of the prime-order group")
    if int.from_bytes(s, "little") >= _Q:
        raise MalformedMessage("VRF proof: s is not reduced")
    H = _hash_to_curve(public, alpha)
    try:
        U = bindings.crypto_core_ed25519_sub(  # s*B - c*Y
            bindings.crypto_scalarmult_ed25519_base_noclamp(s),
            bindings.crypto_scalarmult_ed25519_noclamp(_widen(c), public),
        )
        V = bindings.crypto_core_ed25519_sub(  # s*H - c*Gamma
            bindings.crypto_scalarmult_ed25519_noclamp(s, H),
            bindings.crypto_scalarmult_ed25519_noclamp(_widen(c), Gamma),
        )
    except SodiumError:  # s or c is zero: no honest proof, chance 2^-128
        raise MalformedMessage("VRF proof: a scalar is zero") from None
    if _challenge(public, H, Gamma, U, V) != c:
        raise MalformedMessage("VRF proof does not match its key and input")
    return _output(Gamma)


def output(proof: bytes) -> bytes:
    """The 64-byte beta of a proof made here or verified before (RFC 9381, 5.2). Checks nothing."""
    return _output(proof[:32])


def _expand(seed: bytes) -> tuple[bytes, bytes]:
    """(x reduced mod q, nonce key): the two halves of SHA-512 of the seed (RFC 8032, 5.1.5)."""
    if len(seed) != 32:
        raise LocalMisuse(f"a VRF seed has 32 bytes, not {len(seed)}")
    hashed = hashlib.sha512(seed).digest()
    clamped = bytearray(hashed[:32])
    clamped[0] &= 248
    clamped[31] = (clamped[31] & 127) | 64
    return bindings.crypto_core_ed25519_scalar_reduce(bytes(clamped) + bytes(32)), hashed[32:]


def _hash_to_curve(public: bytes, alpha: bytes) -> bytes:
    """Try-and-increment; the cofactor is multiplied away by three doublings."""
    for attempt in range(_TRIES):
        hashed = hashlib.sha512(_SUITE + _ENCODE + public + alpha + bytes([attempt]) + _END).digest()
        candidate = hashed[:32]
        if int.from_bytes(candidate, "little") % 2**255 >= _FIELD_PRIME:
            continue
        try:
            H = _times_cofactor(candidate)
        except SodiumError:  # not on the curve: half of all strings
            continue
        if _is_valid_point(H):
            return H
    raise LocalMisuse("no point of the curve in 256 tries")  # chance 2^-256


def _times_cofactor(point: bytes) -> bytes:
    for _ in range(3):
        point = bindings.crypto_core_ed25519_add(point, point)
    return point


def _challenge(*points: bytes) -> bytes:
    return hashlib.sha512(_SUITE + _CHALLENGE + b"".join(points) + _END).digest()[:_C_BYTES]


def _output(Gamma: bytes) -> bytes:
    return hashlib.sha512(_SUITE + _OUTPUT + _times_cofactor(Gamma) + _END).digest()


def _widen(c: bytes) -> bytes:
    return c + bytes(32 - _C_BYTES)


def _is_valid_point(point: bytes) -> bool:
    """Canonical, on the curve, in the prime-order subgroup and not the identity."""
    return len(point) == 32 and bool(bindings.crypto_core_ed25519_is_valid_point(point))
