"""What one node knows of beacon sessions that would end the current epoch: announced intents, opened totals.

A record for the next epoch exists only where both meet: an intent announced by a member of the
electorate, and the opened total of a session whose plan carries that intent's nonce.

Of each member only the first session that opened counts, else it could run them until it liked a beacon and
propose that one. So a beacon stays the beacon of the next record, though a gateway that its intent left out
comes back before a quorum voted: the record then gets that gateway as well. Only members of G_e are added so:
their keys are older than the beacon, nobody can have chosen them for it. Who proposes so may choose whom of
those that are alive to add; but who is there all the time cannot be left out (`electorate.is_fair`).

Invariant: at most INTENTS_A_MEMBER intents and one opened session a member; the first opened comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh.overlay.electorate import is_widened
from mesh.overlay.epoch_record import EpochIntent, EpochRecord, check_intent
from mesh.overlay.view import View
from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.sessions.plan import Plan
from protocols.wire.digest import digest

INTENTS_A_MEMBER = 4


class BeaconLedger:
    """Intents and opened beacons that follow `head`."""

    def __init__(self, head: EpochRecord) -> None:
        self._head = head
        self._intents: dict[PartyId, dict[bytes, EpochIntent]] = {}
        self._served: set[PartyId] = set()
        self._opened: dict[bytes, tuple[SessionId, Digest]] = {}
        self._records: dict[Digest, EpochRecord] = {}

    def announce(self, sender: PartyId, intent: EpochIntent) -> None:
        """Keep an intent. Raises MalformedMessage if it does not follow the head or comes from outside."""
        check_intent(intent, self._head)
        if sender not in self._head.gateways:
            raise MalformedMessage(f"{sender.short()} wants to end the epoch but is not of its electorate")
        theirs = self._intents.setdefault(sender, {})
        theirs[intent.nonce] = intent
        if len(theirs) > INTENTS_A_MEMBER:
            del theirs[next(iter(theirs))]
        self._match()

    def is_announced(self, plan: Plan) -> bool:
        """Whether the plan's initiator announced what this beacon session is for, and has had none yet."""
        if plan.epoch != self._head.epoch or plan.initiator in self._served:
            return False
        return plan.nonce in self._intents.get(plan.initiator, {})

    def opened(self, plan: Plan, total: Sequence[int]) -> None:
        """A beacon session ended with this total: the beacon is a digest of head, session and total."""
        if plan.epoch != self._head.epoch or plan.initiator in self._served:
            return
        self._served.add(plan.initiator)
        words = b"".join(int(value).to_bytes(8, "big") for value in total)
        beacon = digest("beacon", self._head.digest, plan.session, words)
        self._opened.setdefault(plan.nonce, (plan.session, beacon))
        self._match()

    def _match(self) -> None:
        intents = {nonce: intent for theirs in self._intents.values() for nonce, intent in theirs.items()}
        for nonce, (session, beacon) in self._opened.items():
            if nonce in intents:
                record = EpochRecord(intents[nonce], beacon, Digest(session))
                self._records.setdefault(record.digest, record)

    def first(self) -> EpochRecord | None:
        """The record of the beacon opened first: a proposer does not get to choose."""
        return next(iter(self._records.values()), None)

    def knows(self, record: EpochRecord, view: View) -> bool:
        """Whether this record's beacon was seen to open here, for these gateways but for live ones of G_e."""
        known = (base for base in self._records.values() if base.beacon == record.beacon)
        return any(is_widened(record, base, self._head, view) for base in known)
