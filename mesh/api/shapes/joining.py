"""Letting others in and answering what waits for a person."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InviteSpec:
    """What `invite` asks for; None takes the node's settings. `confirm`: wait for `requests accept`."""

    expires_s: float | None = None
    confirm: bool | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """A ticket to hand over privately: whoever holds it may ask to join, once, until it expires."""

    ticket: str
    id: str
    expires_s: float
    confirm: bool
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JoinSpec:
    """A ticket to join with."""

    ticket: str


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """Something that waits for, or had, this person's word. `kind`: join, job."""

    id: str
    kind: str
    state: str
    who: str
    what: str
    phrase: str = ""
    asked_at: float = 0.0


@dataclass(frozen=True, slots=True)
class AnswerSpec:
    """A person's answer to a request. `verdict`: accept, approve, deny."""

    verdict: str
    reason: str = ""
