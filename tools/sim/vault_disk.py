"""What one holder of a simulated vault has stored, and what of it survives a crash.

Every write makes a new disk, so a torn one is an earlier disk: those since the last thing that the holder
told anybody may be lost, the newest first, as of a journal whose end a power loss cuts off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from protocols.arithmetic.field import Elements
from protocols.errors import UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.vault.messages import Asked, VaultOrder
from protocols.vault.recovery import Remains
from protocols.vault.standing import Standing
from protocols.vault.terms import SignedTerms


class Ended(UnexpectedMessage):
    """There is to be nothing here of a vault that ended (`mesh.data.vault.VaultEnded`)."""


Origin = tuple[int, Digest]
"""Generation, and the dealing or roster that made it."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A share (width,) and the secret seed by which its renewal is dealt."""

    share: Elements = field(repr=False)
    seed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Disk:
    """One vault as one holder has it."""

    terms: SignedTerms | None = None
    standing: Standing | None = None
    renewed_s: float = 0.0
    fragments: Mapping[Origin, Fragment] = field(default_factory=dict)
    votes: tuple[tuple[int, object], ...] = ()
    """(generation, record)."""
    remains: Mapping[int, Remains] = field(default_factory=dict)
    """By generation: what others may have missed."""
    ledger: Mapping[Digest, Asked] = field(default_factory=dict)
    """By the name of the use, in the order of entering."""
    learning: tuple[int, frozenset[PartyId]] | None = None
    """While the ledger is not whole: since which generation, and whose ledgers are wanted."""
    ended: str = ""
    order: VaultOrder | None = None

    def put(self, origin: Origin, fragment: Fragment) -> Disk:
        """With one fragment more."""
        return replace(self, fragments={**self.fragments, origin: fragment})

    def without(self, below: int, keep: Digest) -> Disk:
        """Without what is of earlier generations, and fragments of this one but those of `keep`."""
        kept = {o: f for o, f in self.fragments.items() if o[0] > below or o == (below, keep)}
        remains = {generation: one for generation, one in self.remains.items() if generation >= below}
        return replace(self, fragments=kept, remains=remains)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the vault is left."""
        return self == self.emptied()

    def emptied(self) -> Disk:
        """Nothing of the vault is left but that it ended, if it did."""
        return Disk(ended=self.ended, order=self.order)
