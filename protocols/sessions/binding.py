"""Which effects bind a party, and what a message that it took is known again by.

A message that binds is one that an honest party says once for its place: a vote, a dealing, a share. Said
differently after a restart it would be a lie. What is LOOSE contradicts nothing: relayed parts, receipts,
requests, and what proves itself, as another's dealing that is handed on does.
"""

from __future__ import annotations

from typing import Any

from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Persist, Send
from protocols.sessions.messages import (
    AbortProof,
    Certificate,
    Complaint,
    Deal,
    Decline,
    Fetch,
    Held,
    Part,
    Parts,
    PlanOffer,
    Result,
    Resumed,
)
from protocols.sessions.offers import OFFERS_NETWORK
from protocols.wire import codec
from protocols.wire.digest import digest

LOOSE: tuple[type, ...] = (
    PlanOffer, Decline, Part, Parts, Held, Fetch, Complaint, Certificate, Result, AbortProof, Resumed,
    *OFFERS_NETWORK,
)  # fmt: skip
"""Messages that bind nobody: said differently after a restart they contradict nothing."""
MARK = 16


def binds(effect: Effect) -> bool:
    """Whether this effect must never be contradicted."""
    if isinstance(effect, Send | Broadcast):
        message = effect.message
        return not (isinstance(message, LOOSE) or (isinstance(message, Deal) and not message.sealed))
    return isinstance(effect, Persist)


def key(message: object) -> object:
    """What tells a message from others of its class: itself, or its encoding where it holds vectors."""
    match message:
        case Deal():
            return Deal, message.dealing.signature, message.sealed, message.certificate is None
        case Part():
            return Part, message.dealing.signature, message.sealed
        case Parts():
            return Parts, *(told for one in message.parts for told in (one.dealing.signature, one.sealed))
    try:
        hash(message)
    except TypeError:
        return type(message), codec.encode(message)
    return message


def mark(sender: PartyId, known: Any) -> bytes:
    """A digest of a `key` and who sent it, MARK bytes: to know it again by, and nothing else."""
    if not isinstance(known, tuple):
        return bytes(digest("taken", sender, type(known).__name__.encode(), codec.encode(known)))[:MARK]
    kind, *parts = known
    if kind is Deal:
        signature, sealed, bare = parts
        parts = [signature, bytes([bare]), *sealed]
    return bytes(digest("taken", sender, kind.__name__.encode(), *parts))[:MARK]
