"""How much checking of signatures one party may make this node do: it refills with time, so that a flood of
valid proofs of one party delays the mail of others by a fraction of a second at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from protocols.errors import UnexpectedMessage
from protocols.identifiers import PartyId

AT_ONCE = 6000
"""Signatures; a vault's longest standing has about 2000."""
A_SECOND = 300
MAX_PARTIES = 4096


@dataclass(slots=True)
class _Account:
    left: float
    at: float


class Allowance:
    """What each party has left. `clock`: seconds, never going back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._accounts: dict[PartyId, _Account] = {}

    def charge(self, party: PartyId, proofs: int) -> None:
        """Count `proofs` signatures about to be checked. Raises UnexpectedMessage if that is too many."""
        now = self._clock()
        account = self._accounts.setdefault(party, _Account(AT_ONCE, now))
        account.left = min(AT_ONCE, account.left + A_SECOND * (now - account.at))
        account.at = now
        if len(self._accounts) > MAX_PARTIES:
            full = [one for one, kept in self._accounts.items() if now > kept.at + AT_ONCE / A_SECOND]
            for one in full:
                del self._accounts[one]
        if proofs > account.left:
            raise UnexpectedMessage("more proofs about vaults than we check for one party in a while")
        account.left -= proofs
