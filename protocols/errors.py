"""The error taxonomy: who is to blame decides which class it is.

MeshError
 ├ ConfigError              before start; names key and file
 ├ ProtocolError            caused by received data
 │   ├ MalformedMessage     blame = signer
 │   ├ UnexpectedMessage    late or early; NO blame
 │   ├ FaultyParty          with transferable evidence
 │   ├ SuspectedParty       could be framed -> complaint
 │   └ UnattributableFault  somebody lied, nobody can say who
 ├ SessionAborted           the session ended without a result; .definite: nothing was opened
 ├ LocalMisuse              our bug or the caller's
 └ TransportError           retried; never reaches machines

A bug of ours is never turned into a peer's fault.
"""

from __future__ import annotations

from protocols.identifiers import PartyId


class MeshError(Exception):
    """Root of everything the project raises on purpose.

    `code` is what `coppice explain` looks up; `fix` is the sentence that tells the reader what to do.
    """

    code: str = "C-000"

    def __init__(self, message: str, *, code: str | None = None, fix: str = "") -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.fix = fix

    def sentence(self) -> str:
        """`C-123: what happened · the exact fix`."""
        parts = [f"{self.code}: {self.args[0]}"]
        if self.fix:
            parts.append(self.fix)
        return " · ".join(parts)


class ConfigError(MeshError):
    """A setting is wrong; found before anything started."""

    code = "C-100"


class ProtocolError(MeshError):
    """Caused by received data."""

    code = "C-200"


class MalformedMessage(ProtocolError):
    """Bytes that no honest sender produces; `blame` is the signer if the signature was good."""

    code = "C-201"

    def __init__(self, message: str, *, blame: PartyId | None = None) -> None:
        super().__init__(message)
        self.blame = blame


class UnexpectedMessage(ProtocolError):
    """Late, early, or for a session this party does not know. Nobody is to blame."""

    code = "C-202"


class FaultyParty(ProtocolError):
    """A party provably broke the protocol; `evidence` convinces a third party."""

    code = "C-203"

    def __init__(self, message: str, *, party: PartyId, evidence: bytes = b"") -> None:
        super().__init__(message)
        self.party = party
        self.evidence = evidence


class SuspectedParty(ProtocolError):
    """A party looks wrong from here, but an honest party could be framed this way."""

    code = "C-204"

    def __init__(self, message: str, *, party: PartyId) -> None:
        super().__init__(message)
        self.party = party


class UnattributableFault(ProtocolError):
    """The values are inconsistent and the redundancy does not suffice to say who lied."""

    code = "C-205"


class SessionAborted(MeshError):
    """The session ended without a result.

    `definite` is True when this party knows that nothing was opened and nothing will be.
    """

    code = "C-300"

    def __init__(self, message: str, *, definite: bool, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.definite = definite


class TooFewDealers(SessionAborted):
    """Fewer contributions than the plan or an owner's policy demands."""

    code = "C-301"


class ThresholdLost(SessionAborted):
    """Too many committee members left or lied for the value to be opened."""

    code = "C-302"


class DeadlinePassed(SessionAborted):
    """The plan's time ran out."""

    code = "C-303"


class EpochEnded(SessionAborted):
    """The session's epoch was replaced before it ended."""

    code = "C-304"


class Refused(SessionAborted):
    """A party said no; `reasons` maps the party to its words."""

    code = "C-305"

    def __init__(
        self, message: str, *, reasons: dict[PartyId, str], definite: bool = True, fix: str = ""
    ) -> None:
        super().__init__(message, definite=definite, fix=fix)
        self.reasons = reasons


class LocalMisuse(MeshError):
    """Our own bug or the caller's: arguments that break a function's contract."""

    code = "C-400"


class TransportError(MeshError):
    """The network failed; the runtime retries, machines never see it."""

    code = "C-500"
