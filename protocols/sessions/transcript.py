"""One digest over everything a session agreed on, for receipts and audit.

The root's roster names the digests of the rosters below it, those name the dealings, those the sealed
shares: the chain covers the session from the first share to the opened total.
"""

from __future__ import annotations

from protocols.identifiers import Digest, SessionId
from protocols.sessions.messages import Result
from protocols.sessions.roster import handover_digest, roster_digest
from protocols.wire.digest import digest


def transcript(session: SessionId, result: Result) -> Digest:
    """Digest of plan (the session id), handovers, interim rosters, the final one, and total."""
    links = [handover_digest(session, certificate.handover) for certificate in result.handovers]
    links += [roster_digest(session, certificate.roster) for certificate in result.interim]
    roster = roster_digest(session, result.certificate.roster)
    return digest("transcript", session, *links, roster, result.total.astype("<u8").tobytes())
