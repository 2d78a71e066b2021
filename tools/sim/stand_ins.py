"""Fast stand-ins for signatures and sealing, so that a simulated session costs milliseconds.

ONLY for the simulator and for the tests that sweep over many sessions; nothing in `protocols` or `mesh`
imports this. Inside `fast_crypto()` the two primitives are keyed hashes under one key of this process:

    signature  BLAKE2b-512(key; party, label, payload)
    sealing    BLAKE2b-512(key; recipient, context, plaintext) || padding || plaintext

They have the interface, the sizes and the failures of `wire.envelope` and `wire.sealing`: a signature of
another party, label or payload is refused; a sealing of another recipient or context raises SealBroken; a
false disclosure raises MalformedMessage, a true one shows everybody the same plaintext. They keep nothing
secret and whoever knows the process's key forges them, so the simulator's Byzantine parties do not: they
sign with their own seeds or send rubbish. What they cannot show is a flaw of the primitives themselves,
which have tests of their own (tests/vectors, tests/property). Arithmetic on short vectors is replaced as
well, by code with the very same results (`short_vectors`).

Invariant: after the context is left, the real functions are back.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from nacl import bindings as sodium
from nacl.signing import SigningKey

from protocols import sessions, vault
from protocols.arithmetic.field import Elements
from protocols.errors import MalformedMessage
from protocols.identifiers import PartyId
from protocols.sharing import consistency
from protocols.wire import codec, sealing
from protocols.wire.sealing import OVERHEAD_BYTES, Disclosure, SealBroken
from tools.sim import memory, short_vectors

_KEY: Final = b"stand-in for a signature scheme"
_TAG_BYTES: Final = 64
_PADDING: Final = bytes(OVERHEAD_BYTES - _TAG_BYTES)


def _hash(purpose: bytes, *parts: bytes) -> bytes:
    framed = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
    return hashlib.blake2b(framed, key=_KEY, person=purpose).digest()


@lru_cache(maxsize=1 << 15)
def _party_of(seed: bytes) -> PartyId:
    return PartyId(bytes(SigningKey(seed).verify_key))


@lru_cache(maxsize=1 << 15)
def _public_of(secret: bytes) -> bytes:
    return sodium.crypto_scalarmult_ed25519_base_noclamp(secret)


@lru_cache(maxsize=1 << 15)
def _signature(party: bytes, label: str, payload: bytes) -> bytes:
    """Kept: whoever checks asks for the same. The party has 32 bytes and no label a NUL, so the parts cannot
    run into each other.
    """
    framed = party + label.encode() + b"\0" + payload
    return hashlib.blake2b(framed, key=_KEY, person=b"sign").digest()


def sign_statement(key: SigningKey | bytes, label: str, payload: bytes) -> bytes:
    """As `envelope.sign_statement`: 64 bytes."""
    return _signature(_party_of(bytes(key)), label, payload)


def check_statement(party: PartyId, label: str, payload: bytes, signature: bytes) -> bool:
    """As `envelope.check_statement`."""
    return signature == _signature(party, label, payload)


@lru_cache(maxsize=1 << 12)
def challenge(binding: bytes) -> Elements:
    """As `consistency.challenge`, kept: the dealer and every member ask for the same one."""
    elements = _challenge(binding)
    elements.flags.writeable = False
    return elements


def seal(recipient_public: bytes, plaintext: bytes, context: bytes, seed: bytes) -> bytes:
    """As `sealing.seal`; as long as the real thing."""
    del seed
    return _hash(b"seal", recipient_public, context, plaintext) + _PADDING + plaintext


def _open(recipient: bytes, sealed: bytes, context: bytes) -> bytes | None:
    plaintext = sealed[OVERHEAD_BYTES:]
    return plaintext if sealed[:_TAG_BYTES] == _hash(b"seal", recipient, context, plaintext) else None


def unseal(secret: bytes, sealed: bytes, context: bytes) -> bytes:
    """As `sealing.unseal`. Raises SealBroken."""
    plaintext = _open(_public_of(secret), sealed, context)
    if plaintext is None:
        raise SealBroken("a sealed share does not open")
    return plaintext


def disclose(secret: bytes, sealed: bytes, context: bytes) -> Disclosure:
    """As `sealing.disclose`."""
    point = _hash(b"disclose", _public_of(secret), sealed, context)[:32]
    return Disclosure(point, point, point)


def open_disclosed(
    recipient_public: bytes, sealed: bytes, context: bytes, disclosure: Disclosure
) -> bytes | None:
    """As `sealing.open_disclosed`. Raises MalformedMessage for a false disclosure."""
    if disclosure.shared_point != _hash(b"disclose", recipient_public, sealed, context)[:32]:
        raise MalformedMessage("a disclosure's proof is false")
    return _open(recipient_public, sealed, context)


_challenge: Final = consistency.challenge
_encode: Final = codec.encode
_encodings: dict[int, tuple[object, bytes]] = {}
_afresh: list[bool] = []


def encode(value: Any) -> bytes:
    """As `codec.encode`; remembers them by object, as every receiver's journal asks for the same again."""
    known = _encodings.get(id(value))
    if known is None or _afresh:
        if len(_encodings) > 1024:
            _encodings.clear()
        known = (value, _encode(value))  # holding the object keeps its id from being used again
        _encodings[id(value)] = known
    return known[1]


@contextlib.contextmanager
def encoding_afresh() -> Iterator[None]:
    """Encode from nothing in the body of a `with`: shows a machine that changes what it said or heard."""
    _afresh.append(True)
    try:
        yield
    finally:
        _afresh.pop()


_STATEMENTS: Final[dict[str, Callable[..., object]]] = {
    "sign_statement": sign_statement,
    "check_statement": check_statement,
}


def _signers() -> list[object]:
    """Every module of the sessions and the vaults: any may sign."""
    found = [
        (room.__name__, module.name)
        for room in (sessions, vault)
        for module in pkgutil.iter_modules(room.__path__)
    ]
    return [importlib.import_module(f"{room}.{name}") for room, name in found]


_REPLACED: Final[tuple[tuple[object, str, Callable[..., object]], ...]] = (
    *(
        (place, name, stand_in)
        for place in _signers()
        for name, stand_in in _STATEMENTS.items()
        if hasattr(place, name)
    ),
    (sealing, "seal", seal),
    (sealing, "unseal", unseal),
    (sealing, "disclose", disclose),
    (sealing, "open_disclosed", open_disclosed),
    (codec, "encode", encode),
    (consistency, "challenge", challenge),
    *short_vectors.REPLACED,
)


@contextlib.contextmanager
def fast_crypto(remember: bool = False) -> Iterator[None]:
    """Swap the stand-ins in for the body of a `with` statement; nests. `remember`: those of `memory` too."""
    replaced = (*_REPLACED, *memory.REPLACED) if remember else _REPLACED
    before = [(place, name, getattr(place, name)) for place, name, _ in replaced]
    for place, name, replacement in replaced:
        setattr(place, name, replacement)
    try:
        yield
    finally:
        for place, name, original in before:
            setattr(place, name, original)
