"""Signed envelopes: every message between parties, and statements signed on their own.

An envelope binds a body to mesh, session, epoch, stage, kind and sender, so that nothing signed for one
place can be shown at another. The signature (Ed25519, RFC 8032, as libsodium checks it: strict in S,
no small-order or non-canonical keys) is over a domain label and the BLAKE2b-256 of the canonical
encoding without the signature, which stands last. The bytes are canonical, hence so is what is signed.

Statements (ballots, dealings, results) are signed apart from any envelope because third parties check
them later; the label keeps a statement of one kind from serving as another, or as an envelope.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between, Signature
from protocols.wire.digest import digest

MAX_BODY_BYTES: Final = 16 << 20
MAX_ENVELOPE_BYTES: Final = MAX_BODY_BYTES + 512
_SIGNATURE_BYTES: Final = 64
_ENVELOPE_DOMAIN: Final = b"coppice/envelope/1"
_STATEMENT_DOMAIN: Final = b"coppice/statement/1"


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message as it travels. `stage` -1 is for messages that belong to no stage of the plan."""

    mesh: Digest
    session: SessionId
    epoch: Annotated[int, Between(0, 2**48)]
    stage: Annotated[int, Between(-1, 2**16)]
    kind: Annotated[str, AtMost(32)]
    sender: PartyId
    body: Annotated[bytes, AtMost(MAX_BODY_BYTES)]
    signature: Signature


def party_of(key: SigningKey | bytes) -> PartyId:
    """Whose signatures `key` (or its 32-byte seed) makes."""
    return PartyId(bytes(_signing_key(key).verify_key))


def sign(
    key: SigningKey | bytes,
    *,
    mesh: Digest,
    session: SessionId,
    epoch: int,
    stage: int,
    kind: str,
    body: bytes,
) -> bytes:
    """Encoded envelope of `body`, sent by the party of `key`.

    Raises LocalMisuse when a field is out of bounds.
    """
    signer = _signing_key(key)
    sender = PartyId(bytes(signer.verify_key))
    blank = Envelope(mesh, session, epoch, stage, kind, sender, body, bytes(_SIGNATURE_BYTES))
    unsigned = codec.encode(blank)[:-_SIGNATURE_BYTES]
    return unsigned + signer.sign(_statement_of_envelope(unsigned)).signature


def verify(data: bytes, *, mesh: Digest) -> Envelope:
    """The envelope in `data`, signed by its sender, for this mesh.

    Raises MalformedMessage otherwise, without blame: whoever made these bytes, nobody signed them.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise MalformedMessage(f"an envelope of {len(data)} bytes; {MAX_ENVELOPE_BYTES} are allowed")
    envelope = codec.decode(Envelope, data)
    if envelope.mesh != mesh:
        raise MalformedMessage(f"an envelope of mesh {envelope.mesh.short()}, not of ours")
    if not _good(envelope.sender, _statement_of_envelope(data[:-_SIGNATURE_BYTES]), envelope.signature):
        raise MalformedMessage(f"the signature of {envelope.sender.short()} on a {envelope.kind!r} is wrong")
    return envelope


def sign_statement(key: SigningKey | bytes, label: str, payload: bytes) -> bytes:
    """64-byte signature of `payload` in the role `label`."""
    return _signing_key(key).sign(_statement(label, payload)).signature


def check_statement(party: PartyId, label: str, payload: bytes, signature: bytes) -> bool:
    """Whether `party` signed `payload` in the role `label`."""
    return _good(party, _statement(label, payload), signature)


def _signing_key(key: SigningKey | bytes) -> SigningKey:
    return key if isinstance(key, SigningKey) else SigningKey(key)


def _statement_of_envelope(unsigned: bytes) -> bytes:
    return _ENVELOPE_DOMAIN + digest("envelope", unsigned)


def _statement(label: str, payload: bytes) -> bytes:
    return _STATEMENT_DOMAIN + digest("statement", label.encode(), payload)


def _good(party: PartyId, statement: bytes, signature: bytes) -> bool:
    if len(signature) != _SIGNATURE_BYTES:
        return False
    try:
        VerifyKey(bytes(party)).verify(statement, signature)
    except CryptoError:
        return False
    return True
