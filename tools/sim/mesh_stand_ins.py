"""The stand-ins of `stand_ins` where the overlay signs, and a keyed hash in place of its VRF.

    proof  BLAKE2b(key; public, alpha) in 80 bytes; verify compares, and raises as the real one

What the VRF is for, a rank that nobody can choose, is not what a simulated mesh tests; that a claim of
another party, epoch or proof is refused it does.

Invariant: after the context is left, the real functions are back.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from mesh.overlay import agreement, announcement, certificate, epoch_record, joining, ticket
from protocols.errors import MalformedMessage
from protocols.randomness import ecvrf
from tools.sim.stand_ins import check_statement, fast_crypto, sign_statement

_KEY: Final = b"stand-in for a verifiable function"
_keypair: Final = ecvrf.keypair


@lru_cache(maxsize=1 << 10)
def _public_of(seed: bytes) -> bytes:
    return _keypair(seed)[1]


def _proof(public: bytes, alpha: bytes) -> bytes:
    body = hashlib.blake2b(public + alpha, key=_KEY).digest()
    return body + body[: ecvrf.PROOF_BYTES - len(body)]


def prove(seed: bytes, alpha: bytes) -> bytes:
    """As `ecvrf.prove`."""
    return _proof(_public_of(seed), alpha)


def verify(public: bytes, alpha: bytes, proof: bytes) -> bytes:
    """As `ecvrf.verify`. Raises MalformedMessage."""
    if proof != _proof(public, alpha):
        raise MalformedMessage("VRF proof does not match its key and input")
    return proof[:64]


_SIGNERS: Final = (certificate, announcement, epoch_record, agreement, joining, ticket)
_REPLACED: Final[tuple[tuple[object, str, Callable[..., object]], ...]] = (
    *((place, "sign_statement", sign_statement) for place in _SIGNERS),
    *((place, "check_statement", check_statement) for place in _SIGNERS),
    (ecvrf, "prove", prove),
    (ecvrf, "verify", verify),
)


@contextlib.contextmanager
def fast_overlay() -> Iterator[None]:
    """Swap the stand-ins in for the body of a `with` statement; nests."""
    before = [(place, name, getattr(place, name)) for place, name, _ in _REPLACED]
    with fast_crypto():
        for place, name, replacement in _REPLACED:
            setattr(place, name, replacement)
        try:
            yield
        finally:
            for place, name, original in before:
                setattr(place, name, original)
