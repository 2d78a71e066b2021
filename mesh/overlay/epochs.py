"""When an epoch ends, who says so, and how everybody learns of the next: one node's epoch keeper. Pure.

An epoch is due to end when `epoch_s` has passed, when the alive gateways have differed from G_e for
`settle_s`, or when its beacon was the operator's and three gateways can make a better one.

    fewer than 3 gateways in G_e     the operator signs the next record alone
    3 or more                        proposer of the round: StartBeacon(intent) -> beacon session
                                     -> record from its opened total -> agreement -> Certified -> all
    3 or more, fewer than 3 alive    the operator proposes a beacon of its own, a quorum must agree

The beacon is the digest of a total that dealers fixed (by certificate) before anybody could know it, so
withholding changes nothing; a proposer who dislikes a beacon can only fail to propose it, and the next
one proposes the same. The intent (who is in G_{e+1}) is bound into the session's plan before it runs,
so nobody can add gateways with keys chosen for the beacon; members of G_e that came back may be added later
(see `beacon_ledger`).

Rounds are left at once when the reason goes and nobody is bound; the next reason begins with the next round,
as many have spent their vote in this one.

Invariants: the head only moves to a certified successor; of one height we vote as agreement allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mesh.overlay import electorate
from mesh.overlay.agreement import Agreement, Ballot, BallotCast, Candidate, Lock, Proposal, Wish
from mesh.overlay.beacon_ledger import BeaconLedger
from mesh.overlay.certificate import MeshIdentity
from mesh.overlay.claims import ClaimBook, Claims
from mesh.overlay.due import Due
from mesh.overlay.epoch_messages import (
    EpochChanged,
    EpochHead,
    HeadMoved,
    IntentNotice,
    StartBeacon,
)
from mesh.overlay.epoch_record import (
    CHAIN_PART,
    MIN_SESSION_GATEWAYS,
    NO_SESSION,
    Certified,
    EpochIntent,
    EpochRecord,
    History,
    by_operator,
    check_extends,
    check_intent,
    faults,
    is_by_operator,
    operator_signature,
)
from mesh.overlay.planner import is_beacon
from mesh.overlay.profile import EpochProfile
from mesh.overlay.sortition import Claim, Standing
from mesh.overlay.view import View
from protocols.arithmetic.xof import Xof
from protocols.errors import MalformedMessage, Refused, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from protocols.sessions.plan import Plan

LEAST_PAUSE_S = 0.05
"""Between two ticks that `deadline` asks for, so that nothing that stays due makes the node spin."""

ASK_AGAIN_S = 1.0
"""Least pause between two requests for the records we lack."""


class EpochKeeper:
    """Follows and extends the chain. Inputs take the current view; `deadline` says when `tick` is wanted."""

    def __init__(
        self,
        identity: MeshIdentity,
        me: PartyId,
        identity_seed: bytes,
        head: EpochRecord | Certified,
        random_seed: bytes,
        *,
        vrf_seed: bytes | None = None,
        operator_seed: bytes | None = None,
        profile: EpochProfile | None = None,
    ) -> None:
        self.me = me
        self._identity = identity
        self._identity_seed = identity_seed
        self._random_seed = random_seed
        self._vrf_seed = vrf_seed
        self._operator_seed = operator_seed
        self._profile = profile or EpochProfile()
        self._history = History(head if isinstance(head, Certified) else None)
        self._syncs = 0
        self._next_sync_s = self._ask_again_s = self._ticked_s = -math.inf
        self._set_head(head.record if isinstance(head, Certified) else head, -math.inf)

    def _set_head(self, head: EpochRecord, now: float) -> None:
        self._head = head
        self._due = Due(head, self._profile, now)
        self._round_ends_s = math.inf
        self._asked_round = self._hopeless_round = -1
        self._timed_round = 0
        self._left_round = -1
        self._retold: dict[PartyId, int] = {}
        self._agreement = Agreement(head, self.me, self._identity_seed)
        self._beacons = BeaconLedger(head)
        self._claims = ClaimBook(head)

    @property
    def record(self) -> EpochRecord:
        """The current epoch."""
        return self._head

    @property
    def standings(self) -> Mapping[PartyId, Standing]:
        """Verified claims of the current epoch."""
        return self._claims.standings

    def certified(self, epoch: int) -> Certified | None:
        """A record of the chain with its proof, if it is still kept."""
        return self._history.get(epoch)

    def check_beacon(self, plan: Plan) -> None:
        """Before taking part in a beacon session: its proposer announced what it is for. Raises Refused."""
        if not self._beacons.is_announced(plan):
            reason = f"no end of epoch {plan.epoch} was announced by the initiator of this beacon session"
            raise Refused(reason, reasons={self.me: reason})

    # Inputs.

    def restore(self, record: HeadMoved | BallotCast) -> None:
        """Replay a stored record, in the order of storing, before `start`."""
        if isinstance(record, HeadMoved):
            intent = record.certified.record.intent
            if intent.mesh == self._identity.mesh and intent.epoch >= self._head.epoch:
                self._history.append(record.certified)
                self._set_head(record.certified.record, -math.inf)
        elif record.ballot.epoch == self._head.epoch + 1:
            self._agreement.restore(record)

    def start(self, now: float, view: View) -> list[Effect]:
        """Begin: claim our rank in the current epoch."""
        self._due.since_s = now
        self._next_sync_s = now + self._profile.sync_s
        return self._claim(view) + self.tick(now, view)

    def link_up(self, peer: PartyId) -> list[Effect]:
        """Compare heads with a new neighbour at once."""
        return [Send(peer, self._my_head()), *self._agreement.retold(peer)]

    def beacon_opened(self, now: float, view: View, plan: Plan, total: Sequence[int]) -> list[Effect]:
        """A beacon session of the current epoch ended here with this total (checked by the session)."""
        if is_beacon(plan):
            self._beacons.opened(plan, total)
        return self._go_on(now, view)

    def receive(self, now: float, view: View, sender: PartyId, message: object) -> list[Effect]:
        """Take a message of a member.

        Raises MalformedMessage (false proof), UnexpectedMessage (another height than ours).
        """
        match message:
            case Certified():
                return self._on_certified(now, view, sender, message)
            case EpochHead():
                return self._on_head(sender, message)
            case Claim() | Claims():
                return self._claims.receive(view, sender, message)
            case IntentNotice():
                self._check_height(message.intent.epoch)
                self._beacons.announce(sender, message.intent)
                effects = []
            case Proposal() | Lock():
                self._check_height(message.candidate.record.epoch)
                check_intent(message.candidate.record.intent, self._head)
                effects = self._agreement.receive(sender, message, self._judge(now, view), self._may_propose)
            case Ballot() | Wish():
                self._check_height(message.epoch)
                effects = self._agreement.receive(sender, message, self._judge(now, view), self._may_propose)
            case _:
                raise MalformedMessage(f"{type(message).__name__} is no message about epochs")
        return effects + self._go_on(now, view)

    def tick(self, now: float, view: View) -> list[Effect]:
        """`deadline` has passed, or the view changed."""
        effects: list[Effect] = []
        self._ticked_s = now
        self._due.watch(now, electorate.next_gateways(self._head, view))
        if self._acts and (self._in_rounds or now >= self._due.at):
            effects += self._extend(now, view)
        if now >= self._next_sync_s:
            self._next_sync_s = now + self._profile.sync_s
            effects += self._sync(view)
        return effects

    @property
    def deadline(self) -> float:
        """When `tick` is wanted next; call it also when the view changes."""
        if not self._acts:
            return self._next_sync_s
        due = self._round_ends_s if self._in_rounds else self._due.at
        return min(max(due, self._ticked_s + LEAST_PAUSE_S), self._next_sync_s)

    # When and what.

    @property
    def _acts(self) -> bool:
        """Whether it is (also) ours to extend the chain."""
        if len(self._head.gateways) < MIN_SESSION_GATEWAYS:
            return self._operator_seed is not None
        return self._agreement.is_member

    @property
    def _steady_s(self) -> float:
        """Contact for so long cannot have been missed by a proposer of this round."""
        return self._profile.settle_s + 2 * self._profile.round_s

    def _extend(self, now: float, view: View) -> list[Effect]:
        if len(self._head.gateways) < MIN_SESSION_GATEWAYS:
            return self._extend_alone(now, view)
        if not self._in_rounds:
            self._start_round(now, view)
        effects: list[Effect] = []
        is_past = now >= self._round_ends_s or self._is_hopeless(view)
        waits = self._due.is_disturbed or self._asked_round == self._agreement.round  # for our own beacon
        is_over = now < self._due.at and (is_past or not waits)
        if is_over and self._agreement.must_propose is None:
            self._round_ends_s = math.inf  # what made it due is over, and nobody is bound yet
            self._left_round = self._agreement.round
            return []
        if is_past:
            effects = self._agreement.want_next(view.is_alive, electorate.helpers(self._head, view))
            self._round_ends_s = now + self._profile.round_s / 2
            self._hopeless_round = self._agreement.round
        return effects + self._go_on(now, view)

    @property
    def _in_rounds(self) -> bool:
        """Whether agreement on the next record has begun here."""
        return self._round_ends_s < math.inf

    def _go_on(self, now: float, view: View) -> list[Effect]:
        """Whatever became possible: a new round's clock, ballots, our proposal, the next epoch."""
        if self._agreement.round != self._timed_round:
            self._start_round(now, view)
        effects = self._agreement.step(self._judge(now, view)) + self._propose(now, view)
        certified = self._agreement.certified
        return effects + self._adopt(now, view, certified, None) if certified else effects

    def _is_hopeless(self, view: View) -> bool:
        """The proposer went before it proposed."""
        agreement = self._agreement
        if self._hopeless_round == agreement.round:
            return False
        return not agreement.has_proposal() and not view.is_alive(agreement.proposer(agreement.round))

    def _start_round(self, now: float, view: View) -> None:
        self._timed_round = self._agreement.round
        length_s = self._profile.round_s * (1 + min(self._timed_round, 8) / 2)
        is_over = self._timed_round == self._left_round or self._is_hopeless(view)
        self._round_ends_s = now + (0 if is_over else length_s)

    def _extend_alone(self, now: float, view: View) -> list[Effect]:
        if self._operator_seed is None:
            return []
        gateways = electorate.next_gateways(self._head, view)
        if not gateways:
            return []
        record = EpochRecord(self._intent(now, gateways), self._own_beacon(), NO_SESSION)
        return self._adopt(now, view, by_operator(self._operator_seed, record), None)

    def _intent(self, now: float, gateways: tuple[PartyId, ...]) -> EpochIntent:
        return EpochIntent(self._identity.mesh, self._head.epoch + 1, self._head.digest, gateways, int(now))

    def _own_beacon(self) -> Digest:
        """Random, the same again if we are asked twice about one height."""
        return Digest(Xof(self._random_seed, "operator-beacon", self._head.digest).read(32))

    # Proposing.

    def _propose(self, now: float, view: View) -> list[Effect]:
        agreement = self._agreement
        if not self._in_rounds or agreement.has_proposal():
            return []
        candidate = None if agreement.must_propose else self._operators_candidate(now, view)
        if candidate is None and agreement.proposer(agreement.round) != self.me:
            return []
        candidate = candidate or agreement.must_propose
        if candidate is None and (opened := self._beacons.first()):
            candidate = Candidate(electorate.widened(opened, self._head, view), None)
        if candidate is not None:
            return agreement.propose(candidate, self._judge(now, view))
        if self._asked_round == agreement.round:
            return []
        self._asked_round = agreement.round
        intent = self._intent(now, electorate.next_gateways(self._head, view))
        self._beacons.announce(self.me, intent)
        others = tuple(party for party in self._head.gateways if party != self.me)
        return [Broadcast(others, IntentNotice(intent)), Publish(StartBeacon(intent))]

    def _operators_candidate(self, now: float, view: View) -> Candidate | None:
        if self._operator_seed is None or electorate.can_run_beacon(self._head, view):
            return None
        intent = self._intent(now, electorate.next_gateways(self._head, view))
        record = EpochRecord(intent, self._own_beacon(), NO_SESSION)
        return Candidate(record, operator_signature(self._operator_seed, record))

    def _may_propose(self, _sender: PartyId, candidate: Candidate) -> bool:
        """Out of turn only what the operator signed."""
        return is_by_operator(self._identity, candidate.record, candidate.operator)

    def _judge(self, now: float, view: View) -> Callable[[Candidate], bool]:
        return partial(self._accepts, now, view)

    def _accepts(self, now: float, view: View, candidate: Candidate) -> bool:
        """Whether we may prevote: a beacon we know, an electorate we can vouch for, a reason to end."""
        record = candidate.record
        if self._agreement.support(record.digest) > faults(len(self._head.gateways)):
            return True
        if record.session == NO_SESSION:
            if electorate.can_run_beacon(self._head, view) or not self._may_propose(self.me, candidate):
                return False
        elif not self._beacons.knows(record, view):
            return False
        return self._may_end(now, view) and electorate.is_fair(record, self._head, view, self._steady_s)

    def _may_end(self, now: float, view: View) -> bool:
        return (
            self._agreement.round > 0
            or now >= self._due.since_s + self._profile.epoch_s / 2
            or electorate.next_gateways(self._head, view) != self._head.gateways
            or self._head.session == NO_SESSION
        )

    def _check_height(self, epoch: int) -> None:
        if epoch != self._head.epoch + 1:
            raise UnexpectedMessage(f"about epoch {epoch}, here {self._head.epoch + 1} is next")

    # Following.

    def _on_certified(self, now: float, view: View, sender: PartyId, certified: Certified) -> list[Effect]:
        if certified.record.epoch <= self._head.epoch:
            return []
        if certified.record.epoch > self._head.epoch + 1:
            if now < self._ask_again_s:
                return []
            self._ask_again_s = now + ASK_AGAIN_S
            return [Send(sender, self._my_head())]
        check_extends(certified, self._head, self._identity)
        effects = self._adopt(now, view, certified, sender)
        is_part_of_many = certified.record.epoch % CHAIN_PART == 0
        return [*effects, Send(sender, self._my_head())] if is_part_of_many else effects

    def _adopt(self, now: float, view: View, certified: Certified, source: PartyId | None) -> list[Effect]:
        self._history.append(certified)
        self._set_head(certified.record, now)
        others = tuple(m.party for m in view.members if m.linked and m.party not in (self.me, source))
        effects: list[Effect] = [Persist(HeadMoved(certified))]
        if others:
            effects.append(Broadcast(others, certified))
        effects.append(Publish(EpochChanged(certified.record)))
        return effects + self._claim(view)

    def _claim(self, view: View) -> list[Effect]:
        if self._vrf_seed is None or self.me not in self._head.gateways:
            return []
        return self._claims.claim(view, self._vrf_seed)

    def _my_head(self) -> EpochHead:
        return EpochHead(self._head.epoch, self._head.digest, self._claims.digest)

    def _sync(self, view: View) -> list[Effect]:
        linked = [m.party for m in view.members if m.linked and m.party != self.me]
        if not linked:
            return []
        self._syncs += 1
        draw = int(Xof(self._random_seed, "epoch-sync", self._syncs.to_bytes(8, "big")).uint64(1)[0])
        return [Send(linked[draw % len(linked)], self._my_head())]

    def _on_head(self, sender: PartyId, head: EpochHead) -> list[Effect]:
        if head.epoch > self._head.epoch:
            return [Send(sender, self._my_head())]
        if head.epoch < self._head.epoch:
            return [Send(sender, certified) for certified in self._history.after(head.epoch)]
        if head.record != self._head.digest:
            return []
        effects: list[Effect] = []
        if head.claims != self._claims.digest:
            effects += [Send(sender, claims) for claims in self._claims.all()]
        if self._in_rounds and self._retold.get(sender, -1) < self._agreement.round:
            self._retold[sender] = self._agreement.round  # it may have caught up after its link came up
            effects += self._agreement.retold(sender)
        return effects
