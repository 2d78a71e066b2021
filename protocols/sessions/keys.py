"""What a party signs and unseals with. Secret, hence without a telling `repr`."""

from __future__ import annotations

from dataclasses import dataclass, field

from nacl.signing import SigningKey

from protocols.identifiers import PartyId
from protocols.wire import sealing


@dataclass(frozen=True, slots=True)
class PartyKeys:
    """Signing seed and sealing secret of one party, and the public halves."""

    party: PartyId
    sealing_key: bytes
    signing_seed: bytes = field(repr=False)
    sealing_secret: bytes = field(repr=False)

    @staticmethod
    def from_seeds(signing_seed: bytes, sealing_seed: bytes) -> PartyKeys:
        """Derive the key pairs of two independent 32-byte seeds."""
        secret, public = sealing.keypair(sealing_seed)
        party = PartyId(bytes(SigningKey(signing_seed).verify_key))
        return PartyKeys(party, public, signing_seed, secret)
