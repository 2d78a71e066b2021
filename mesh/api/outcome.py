"""How an error leaves the node: its JSON, its HTTP status, its exit code.

Exit codes: 0 ok, 1 a bug of ours, 2 usage or config, 3 node unreachable, 4 denied, 5 timeout,
6 below threshold. The class decides on the node's side; over the wire the exit code travels along.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protocols.errors import (
    ConfigError,
    DeadlinePassed,
    EpochEnded,
    LocalMisuse,
    MeshError,
    ProtocolError,
    Refused,
    SessionAborted,
    ThresholdLost,
    TooFewDealers,
    TransportError,
)


class Exit(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    BUG = 1
    USAGE = 2
    UNREACHABLE = 3
    DENIED = 4
    TIMEOUT = 5
    BELOW_THRESHOLD = 6


NOT_FOUND = "C-404"
MISCOPIED_TICKET = "C-220"
BUG = "C-900"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one class of errors is answered."""

    http: int
    exit: Exit


_BY_CLASS: tuple[tuple[type[MeshError], Outcome], ...] = (
    (Refused, Outcome(403, Exit.DENIED)),
    (DeadlinePassed, Outcome(504, Exit.TIMEOUT)),
    (EpochEnded, Outcome(504, Exit.TIMEOUT)),
    (TooFewDealers, Outcome(409, Exit.BELOW_THRESHOLD)),
    (ThresholdLost, Outcome(409, Exit.BELOW_THRESHOLD)),
    (SessionAborted, Outcome(409, Exit.BELOW_THRESHOLD)),
    (TransportError, Outcome(503, Exit.UNREACHABLE)),
    (ProtocolError, Outcome(403, Exit.DENIED)),
    (ConfigError, Outcome(400, Exit.USAGE)),
    (LocalMisuse, Outcome(400, Exit.USAGE)),
)


def outcome(error: MeshError) -> Outcome:
    """HTTP status and exit code of an error."""
    if isinstance(error, RemoteError):
        return Outcome(error.http, error.exit)
    if error.code == NOT_FOUND:
        return Outcome(404, Exit.USAGE)
    if error.code == MISCOPIED_TICKET:
        return Outcome(400, Exit.USAGE)
    return next((found for cls, found in _BY_CLASS if isinstance(error, cls)), Outcome(500, Exit.BUG))


class RemoteError(MeshError):
    """An error that the node answered with, as the client raises it."""

    def __init__(self, message: str, *, code: str, fix: str, http: int, exit: Exit) -> None:
        super().__init__(message, code=code, fix=fix)
        self.http = http
        self.exit = exit


class NodeUnreachable(TransportError):
    """No node answers on the control socket."""

    code = "C-510"


class AnswerTimeout(DeadlinePassed):
    """The node or a job did not answer in time; it may still be at it."""

    code = "C-306"


def describe(error: MeshError) -> dict[str, object]:
    """The `error` object of an answer."""
    described: dict[str, object] = {
        "code": error.code,
        "what": str(error.args[0]),
        "fix": error.fix,
        "exit": int(outcome(error).exit),
    }
    if isinstance(error, SessionAborted):
        described["definite"] = error.definite
    if isinstance(error, Refused):
        described["reasons"] = {party.hex(): reason for party, reason in error.reasons.items()}
    return described


def bug_description() -> dict[str, object]:
    """What a client hears of an exception that nobody foresaw."""
    return {
        "code": BUG,
        "what": "the node met a bug of its own; nothing was changed by this call that it did not report",
        "fix": "see the node's log for the traceback and report it",
        "exit": int(Exit.BUG),
    }
