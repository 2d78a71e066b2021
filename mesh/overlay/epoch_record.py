"""The chain of epochs: who may sit on committees, and the beacon from which all sortition follows.

Record e names its predecessor's digest, the gateways G_e eligible in epoch e, and beacon_e. It counts
once a quorum of G_{e-1} has signed it in one round of agreement (see agreement). With m = |G_{e-1}| and
f = (m-1)//3 liars at most, q = floor((m+f)/2)+1: two quorums overlap in more than f members, so in an
honest one.

While fewer than three gateways are eligible no beacon session is possible: the operator extends the
chain alone, with a random value of its own. Such beacons the operator could choose to its liking;
they are marked by a zero `session`, and a mesh replaces the last one as soon as three gateways can.

Invariant: `extends` accepts at most one successor of a record as long as at most f of G are dishonest
(and, below three gateways, the operator is honest).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from mesh.overlay.certificate import MeshIdentity, UnixSeconds
from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between, Signature
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

MAX_GATEWAYS = 128
"""Electorate of one epoch. More gateways than that take turns, drawn by the beacon: votes grow with it."""

MIN_SESSION_GATEWAYS = 3
HISTORY = 256
"""Certified records kept to bring others up to date; a node away for longer joins again."""

CHAIN_PART = 16
"""Records sent at once to one who asks."""

NO_SESSION = Digest(bytes(32))

EpochNumber = Annotated[int, Between(0, 2**48)]
Round = Annotated[int, Between(0, 2**20)]

_VOTE = "epoch-precommit"
_OPERATOR = "epoch-operator"


@dataclass(frozen=True, slots=True)
class EpochIntent:
    """Everything of the next record but its beacon, fixed before the beacon session that yields it."""

    mesh: Digest
    epoch: EpochNumber
    previous: Digest
    gateways: Annotated[tuple[PartyId, ...], AtMost(MAX_GATEWAYS)]
    started_s: UnixSeconds

    @property
    def nonce(self) -> bytes:
        """Nonce of the beacon session's plan: binds the session, hence the beacon, to this intent."""
        return bytes(digest("epoch-intent", codec.encode(self)))


@dataclass(frozen=True)
class EpochRecord:
    """One link of the chain. `session` is the beacon session, NO_SESSION if the operator chose the beacon."""

    intent: EpochIntent
    beacon: Digest
    session: Digest

    @property
    def epoch(self) -> int:
        """Number of this epoch; the first is 0."""
        return self.intent.epoch

    @property
    def gateways(self) -> tuple[PartyId, ...]:
        """G_e, sorted: the only parties that may hold seats in this epoch."""
        return self.intent.gateways

    @cached_property
    def digest(self) -> Digest:
        """Names this record in its successor and in votes."""
        return digest("epoch-record", codec.encode(self))


@dataclass(frozen=True, slots=True)
class EpochVote:
    """One member's precommit."""

    party: PartyId
    signature: Signature


@dataclass(frozen=True, slots=True)
class Certified:
    """A record with what makes it count: a quorum of votes of one round, or the operator's signature."""

    KIND: ClassVar[str] = "epoch"
    record: EpochRecord
    round: Round
    votes: Annotated[tuple[EpochVote, ...], AtMost(MAX_GATEWAYS)]
    operator: Signature | None


def faults(electorate: int) -> int:
    """f, the liars that an electorate of this size outvotes."""
    return max(0, (electorate - 1) // 3)


def quorum(electorate: int) -> int:
    """q, votes that certify."""
    return (electorate + faults(electorate)) // 2 + 1


def genesis(
    identity: MeshIdentity, operator_seed: bytes, founder: PartyId, beacon: bytes, now: float
) -> Certified:
    """Record 0: the founder alone, with a random beacon of 32 bytes."""
    intent = EpochIntent(identity.mesh, 0, NO_SESSION, (founder,), int(now))
    return by_operator(operator_seed, EpochRecord(intent, Digest(beacon), NO_SESSION))


def by_operator(operator_seed: bytes, record: EpochRecord) -> Certified:
    """Certify `record` with the operator's signature; valid only where `extends` allows it."""
    return Certified(record, 0, (), operator_signature(operator_seed, record))


def operator_signature(operator_seed: bytes, record: EpochRecord) -> bytes:
    """The operator's word for a record whose beacon it chose."""
    return sign_statement(operator_seed, _OPERATOR, record.digest)


def is_by_operator(identity: MeshIdentity, record: EpochRecord, signature: bytes | None) -> bool:
    """Whether the operator signed `record`."""
    return signature is not None and check_statement(identity.operator, _OPERATOR, record.digest, signature)


def vote_payload(record: Digest, round_: int) -> bytes:
    """What a precommit signs: mesh, epoch and predecessor are inside the record."""
    return record + round_.to_bytes(4, "big")


def sign_vote(identity_seed: bytes, party: PartyId, record: Digest, round_: int) -> EpochVote:
    """A precommit of `party` for the record with this digest."""
    return EpochVote(party, sign_statement(identity_seed, _VOTE, vote_payload(record, round_)))


def is_vote(vote: EpochVote, record: Digest, round_: int) -> bool:
    """Whether the vote's party signed it for this record and round."""
    return check_statement(vote.party, _VOTE, vote_payload(record, round_), vote.signature)


def check_intent(intent: EpochIntent, head: EpochRecord) -> None:
    """Raises MalformedMessage unless `intent` follows `head` in form."""
    if intent.mesh != head.intent.mesh or intent.epoch != head.epoch + 1 or intent.previous != head.digest:
        raise MalformedMessage(
            f"epoch {intent.epoch} does not follow epoch {head.epoch} {head.digest.short()}"
        )
    if not intent.gateways or tuple(sorted(set(intent.gateways))) != intent.gateways:
        raise MalformedMessage(f"gateways of epoch {intent.epoch} are missing, repeated or out of order")


def check_genesis(certified: Certified, identity: MeshIdentity) -> None:
    """Raises MalformedMessage unless this is record 0 of the mesh, signed by its operator."""
    record = certified.record
    if record.intent.mesh != identity.mesh or record.epoch != 0 or len(record.gateways) != 1:
        raise MalformedMessage("this is not the first epoch of this mesh")
    if not is_by_operator(identity, record, certified.operator):
        raise MalformedMessage("the first epoch is not signed by the operator")


def check_extends(certified: Certified, head: EpochRecord, identity: MeshIdentity) -> None:
    """Raises MalformedMessage unless `certified` is a valid successor of `head`."""
    record, electorate = certified.record, len(head.gateways)
    check_intent(record.intent, head)
    if electorate < MIN_SESSION_GATEWAYS:
        if not is_by_operator(identity, record, certified.operator):
            raise MalformedMessage(f"epoch {record.epoch} is not signed by the operator")
        return
    voters = {vote.party for vote in certified.votes}
    if len(voters) != len(certified.votes) or not voters <= set(head.gateways):
        raise MalformedMessage(f"epoch {record.epoch}: a vote is repeated or from outside the electorate")
    if len(voters) < quorum(electorate):
        raise MalformedMessage(f"epoch {record.epoch}: {len(voters)} of {quorum(electorate)} votes")
    for vote in certified.votes:
        if not is_vote(vote, record.digest, certified.round):
            raise MalformedMessage(f"epoch {record.epoch}: the vote of {vote.party.short()} is forged")
    if record.session == NO_SESSION and not is_by_operator(identity, record, certified.operator):
        raise MalformedMessage(f"epoch {record.epoch} has a beacon of nobody")


class History:
    """The end of the chain with its proofs, for those who were away."""

    def __init__(self, first: Certified | None = None) -> None:
        self._records: dict[int, Certified] = {}
        if first is not None:
            self.append(first)

    def __len__(self) -> int:
        return len(self._records)

    def append(self, certified: Certified) -> None:
        """The newest record; the oldest is dropped."""
        self._records[certified.record.epoch] = certified
        self._records.pop(certified.record.epoch - HISTORY, None)

    def get(self, epoch: int) -> Certified | None:
        """The record of `epoch`, if kept."""
        return self._records.get(epoch)

    def after(self, epoch: int) -> list[Certified]:
        """The records that follow `epoch`, without a gap, at most CHAIN_PART."""
        part: list[Certified] = []
        while len(part) < CHAIN_PART and (certified := self._records.get(epoch + len(part) + 1)):
            part.append(certified)
        return part
