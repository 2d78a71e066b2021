"""All roles of one party in one aggregation session, as one machine.

device      deals its vector to its cluster's committee                     (`dealer`)
adder       relays shares, proposes rosters; untrusted                      (`adder`)
member      votes, adds shares, comes to a share of the certified sum      (`collecting`)
any stage   goes on with substitutes when members left                      (`handover`, `succession`)
root        opens the total, vouches                                        (`rootwork`, `opening`)
initiator   hands out the plan, waits                                       (`initiator`)

plan -> dealings -> roster certificate -> sum -> resharing to the parent committee -> ... -> root sum
     -> [handover] -> opening -> result with t+1 ballots -> down the tree to every device
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import derive
from protocols.errors import UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish
from protocols.sessions import events
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.aborting import AbortTally, audience, check_proof, seatable
from protocols.sessions.adder import Adder
from protocols.sessions.assembly import Assembly
from protocols.sessions.bulk import BulkWork
from protocols.sessions.collecting import Member
from protocols.sessions.dealer import Dealers, contribute, reshare, share
from protocols.sessions.delivery import Delivery
from protocols.sessions.handing import Handovers
from protocols.sessions.initiator import Initiator
from protocols.sessions.inward import settle
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import (
    BULK_MESSAGES,
    NO_VECTOR,
    AbortProof,
    Certificate,
    CheckShares,
    Complaint,
    Deal,
    Decline,
    Fetch,
    HandoverCertificate,
    HandoverProposal,
    HandoverVote,
    Held,
    OpeningShare,
    Part,
    Parts,
    PeersLost,
    Proposal,
    Result,
    ResultVote,
    Vote,
)
from protocols.sessions.offers import PlanRequest, RosterRequest
from protocols.sessions.opening import check_result
from protocols.sessions.plan import Plan
from protocols.sessions.posts import Posts, replayed
from protocols.sessions.progress import Progress
from protocols.sessions.records import Closed
from protocols.sessions.rootwork import INITIATOR_PATIENCE_S, RETELL_S, RootWork
from protocols.sessions.succession import Slot, Succession
from protocols.sessions.transcript import transcript

Roles = dict[Slot, Adder] | dict[Slot, Member]


class SessionParty:
    """Machine of one party; see the module for the flow. The plan must have been checked and approved."""

    def __init__(
        self,
        plan: Plan,
        keys: PartyKeys,
        seed: bytes,
        contribution: Elements | None = None,
        refusal: str = "no data for this job",
        masked: Digest = NO_VECTOR,
    ) -> None:
        """`contribution`: (plan.length,), or None: decline with `refusal`; `masked`: what its key unmasks."""
        self.plan = plan
        self.me = keys.party
        self.keys = keys
        self.outcome: events.Opened | events.Aborted | None = None
        self.lost: frozenset[PartyId] = frozenset()
        self._seed, self._checking = seed, derive(seed, "checking sums")
        self._contribution, self._refusal, self._masked = contribution, refusal, masked
        self._progress = Progress(plan, self.me)
        self.bulk = BulkWork(plan, keys, masked, self._progress)
        self.succession = Succession(plan)
        self.posts = Posts(plan, keys, self.bulk.vectors, self.succession)
        self._adders, self._members = self.posts.adders, self.posts.members
        self._dealers = Dealers()
        self._dealt: set[tuple[Slot, int]] = set()
        self._delivery = Delivery(plan, self.me)
        self._ends = float("inf")
        self._closed: Closed | None = None
        self._patient = False
        self.handovers = Handovers(plan, keys, self.succession, self.posts)
        self.root = RootWork(plan, keys, self._checking, self.succession, self.handovers)
        self.aborts = AbortTally(plan, self.root)
        self._abort_proof: AbortProof | None = None
        self.initiator = Initiator(plan) if plan.initiator == self.me else None

    # -- the Machine contract ---------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Take up every role the plan gives us."""
        self._ends = now + self.plan.total_ms / 1000
        self._progress.start(now)
        self.root.began = now
        effects: list[Effect] = self.initiator.start() if self.initiator else []
        return self._settle(now, [*effects, *self.posts.start(now, self._checking), *self._contribute()])

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """Take one authenticated message. Raises ProtocolError; the state is then unchanged."""
        return self._settle(now, self._dispatch(now, sender, message))

    def expire(self, now: float) -> list[Effect]:
        """Some role's deadline, or the session's, has passed."""
        effects: list[Effect] = self._shift(now) if self._progress.expire(now) else []
        for role in self._roles():
            if (due := role.deadline) is not None and due <= now:
                effects += role.expire(now)
        effects = self._settle(now, effects)
        if self.outcome is None and now >= self._ends:
            effects += self._settle(now, self._give_up(now))
        return effects

    @property
    def deadline(self) -> float | None:
        """The earliest of all roles' deadlines."""
        if self.outcome is not None:
            if events.in_doubt(self.outcome):
                return self.root.deadline
            return self.bulk.deadline if self.plan.bulk is not None else self._delivery.deadline
        roles = (self._progress, self.handovers, *self._roles())
        return min([self._ends, *[due for role in roles if (due := role.deadline) is not None]])

    @property
    def proof(self) -> Result | AbortProof | None:
        """What shows others how the session ended, if we know."""
        return self._delivery.proof or self._abort_proof

    def _roles(self) -> list[Adder | Member | RootWork | Delivery]:
        return [*self._adders.values(), *self._members.values(), self.root, self._delivery]

    # -- routing ----------------------------------------------------------------------------------

    def _settle(self, now: float, effects: Sequence[Effect]) -> list[Effect]:
        return settle(self.me, effects, partial(self._dispatch, now, self.me), partial(self._advance, now))

    def _dispatch(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        if (ahead := self.succession.ahead(message)) is not None:
            self.succession.early.put(sender, ahead, message)  # a handover we have not heard of yet
            return []
        match message:
            case PeersLost():
                return self._lose(now, frozenset(message.parties))
            case Deal() | Part() | Parts():
                slot = (message.dealing.stage, message.dealing.generation)
                roles: Roles = self._adders if isinstance(message, Deal) else self._members
                return self._to(roles, slot, now, sender, message)
            case Held() | Vote() | Fetch():
                return self._to(self._adders, (message.stage, message.generation), now, sender, message)
            case Proposal() | CheckShares():
                about = message.roster if isinstance(message, Proposal) else message
                return self._to(self._members, (about.stage, about.generation), now, sender, message)
            case Complaint():
                return self._on_complaint(now, sender, message)
            case Certificate():
                return self._on_certificate(now, sender, message)
            case OpeningShare() | ResultVote():
                return self.root.receive(now, sender, message)
            case HandoverProposal() | HandoverVote():
                return self.handovers.receive(sender, message)
            case HandoverCertificate():
                return self._hand_over(now, message)
            case Result():
                return self._on_result(now, message)
            case RosterRequest():
                return self._delivery.answer(sender, message)
            case PlanRequest() if self.initiator:
                return self.initiator.show(sender)
            case _ if isinstance(message, BULK_MESSAGES):
                effects = self.bulk.receive(sender, message, self.lost, self._adders)
                return [*effects, *self._shift(now)]
            case Decline():
                told = self.initiator.decline(sender, message) if self.initiator else []
                return [*told, *self.posts.decline(now, sender, message.stage)]
            case AbortVote():
                if self.aborts.add(sender, message):
                    self._delivery.remind(sender)
                return self._shift(now) if self.outcome is None else []
            case AbortProof():
                check_proof(self.plan, message)
                return self._abort_for_certain(message)
        raise UnexpectedMessage(f"no role here takes {type(message).__name__}")

    def _to(self, roles: Roles, slot: Slot, now: float, sender: PartyId, message: object) -> list[Effect]:
        if (role := roles.get(slot)) is not None:
            return role.receive(now, sender, message)
        raise UnexpectedMessage(f"we have no such role in stage {slot[0]}")

    # -- roles ------------------------------------------------------------------------------------

    def _contribute(self) -> list[Effect]:
        dealer, effects = contribute(
            self.plan, self.keys, self._seed, self._contribution, self._masked, self._refusal
        )
        return [*effects, *self._dealers.enlist(dealer, self._gone)]

    def _reshare(self, member: Member, target: Assembly) -> list[Effect]:
        dealer = reshare(self.keys, self._seed, member, target)
        return self._dealers.enlist(dealer, self._lost_at(target.stage))

    def _deal_again(self, ended: Certificate, target: Assembly) -> list[Effect]:
        """To the next generation, what the one that gave way has not in its sum."""
        effects: list[Effect] = []
        for dealer in self._dealers.due_again((ended.roster.stage, ended.roster.generation)):
            member = None if dealer.origin is None else self._members[dealer.origin]
            if member is not None and member.sum is not None:
                effects += self._reshare(member, target)
            elif member is None and self._contribution is not None:
                again = share(target, self.keys, self._seed, self._contribution, self._masked)
                effects += self._dealers.enlist(again, self._lost_at(target.stage))
        return effects

    @property
    def _gone(self) -> frozenset[PartyId]:
        """Who does no more for the session: whom we do not reach, and who promised to abort it."""
        return self.lost | self.aborts.promised(self.me)

    def _lost_at(self, stage: int) -> frozenset[PartyId]:
        """Who is not counted on in a stage: gone, or an adder that was passed over."""
        return self._gone | self._progress.stalled(stage)

    def _advance(self, now: float) -> list[Effect]:
        """Whatever has become possible, once each."""
        effects = self._go_on(now) if self._delivery.result is None else []  # then nobody has a sum
        if self.plan.bulk is not None:
            effects += self.bulk.advance(now, self.lost, self._adders, self._delivery.result)
        return [*effects, *self._delivery.advance(self.lost, self.root, self.posts)]

    def _go_on(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for slot, member in list(self._members.items()):
            reason = member.shortfall or (None if member.assembly.is_spare else member.failure)
            if reason is not None and self._closed is None:
                effects += self._close("C-301" if member.shortfall else "C-302", reason)
            if member.sum is None:
                continue
            for target in self.succession.takers(member.assembly, member.is_interim):
                if (slot, target.stage) not in self._dealt:
                    self._dealt.add((slot, target.stage))
                    effects += self._reshare(member, target)
            if member.assembly.is_root and self._closed is None:
                effects += self.root.summed(now, member)
        effects += self.handovers.advance(now)
        if self._closed is None and (failure := self.root.given_up(self._members)) is not None:
            effects += self._close("C-302", failure)
        if self.root.openings and (result := self.root.result) is not None:
            effects += self._on_result(now, result)
        if self.aborts.votes and not events.is_final(self.outcome):
            effects += self._give_way()
        return effects

    def _lose(self, now: float, lost: frozenset[PartyId]) -> list[Effect]:
        returned, self.lost = self.lost - lost, lost - {self.me}
        effects = self.initiator.offer_again(returned) if self.initiator and self.outcome is None else []
        return [*effects, *self._shift(now)]

    def _shift(self, now: float) -> list[Effect]:
        """Who is lost, or in office, may have changed: every role looks again."""
        effects = self.root.lose(now, gone := self._gone)
        effects += self.posts.lose(now, gone, self._lost_at)
        effects += self.handovers.lose(now, gone)
        deals = self._delivery.result is None or self.bulk.is_awaited
        return [*effects, *(self._dealers.advance(self._lost_at) if deals else [])]

    # -- messages for several roles ------------------------------------------------------------------

    def _on_complaint(self, now: float, sender: PartyId, message: Complaint) -> list[Effect]:
        slot = (message.dealing.stage, message.dealing.generation)
        if (post := self.posts.judge(slot, sender, message.seat)) is not None:
            return post.receive(now, sender, message)
        asked = slot[1] == 0 and slot[0] < len(self.plan.stages)
        return self.initiator.complaint(sender, message) if self.initiator and asked else []

    def _on_certificate(self, now: float, sender: PartyId, message: Certificate) -> list[Effect]:
        slot = (message.roster.stage, message.roster.generation)
        effects = self._members[slot].receive(now, sender, message) if slot in self._members else []
        self._erase(message)
        for adder in (concerned := self.posts.concerned(message)):
            effects += adder.receive(now, sender, message)
        if message.roster.is_interim:
            return [*effects, *self._on_interim(now, message)]
        if concerned or slot in self._members or self._dealers.deal_to(slot):  # hence it was checked
            self._progress.certified(slot[0])
        return effects

    def _erase(self, message: Certificate) -> None:
        """Shares that moved on, and the seed: it opens the sealings of them that we keep for other adders."""
        if self.posts.erase_outlived(message, self._dealers.certified(message)) and self._seed:
            self._seed = derive(self._seed, "dealing after a share is gone")

    def _on_interim(self, now: float, message: Certificate) -> list[Effect]:
        """Another generation goes on: we may sit in it, deal to it, or take its sum."""
        if events.is_final(self.outcome) or (successor := self.succession.enter(message)) is None:
            return []
        effects = [*self.posts.reseat(now, successor), *self._enter(now, successor, message)]
        return [*effects, *self._deal_again(message, successor), *self._replay_early(now, successor)]

    def _hand_over(self, now: float, message: HandoverCertificate) -> list[Effect]:
        """Take our place in the next generation, if we have one; none once the end is known."""
        if events.is_final(self.outcome) or (successor := self.handovers.enter(message)) is None:
            return []
        effects = [*self.handovers.tell_replaced(message), *self.posts.reseat(now, successor)]
        effects += self._enter(now, successor, message.certificate)
        return [*effects, *self._replay_early(now, successor)]

    def _enter(self, now: float, successor: Assembly, ended: Certificate) -> list[Effect]:
        closed, lost = self._closed is not None, (self._gone, self._lost_at(successor.stage))
        effects = self.posts.enter(now, successor, ended, self._checking, closed, *lost)
        return [*effects, *(self.root.lose(now, lost[0]) if successor.is_root else [])]

    def _replay_early(self, now: float, entered: Assembly) -> list[Effect]:
        return replayed(self.succession, (entered.stage, entered.generation), partial(self._dispatch, now))

    # -- the end ------------------------------------------------------------------------------------

    def _on_result(self, now: float, message: Result) -> list[Effect]:
        if self._delivery.result is not None:
            self._delivery.take(now, message)
            return []
        check_result(self.root.replay(message), message)
        counted = message.certificate.roster.contributors
        self._delivery.take(now, message)
        self._forget()
        if events.is_final(self.outcome):
            return []
        self.outcome = events.Opened(message, message.total, counted, transcript(self.plan.session, message))
        return [Publish(self.outcome)]

    def _forget(self) -> None:
        """The result is known: no share, and no seed of one, is needed any more."""
        for member in self._members.values():
            member.erase()
        self.root.forget()
        self._seed, self._checking, self._contribution = b"", b"", None

    def _close(self, code: str, reason: str) -> list[Effect]:
        """Vote and open no more; promise it to the others, if we may sit at the root."""
        self._closed = Closed(code, reason)
        for member in self._members.values():
            member.closed = True
        self.root.closed = self.handovers.closed = True
        if self.me not in seatable(self.plan):
            return [Persist(self._closed)]
        ballot = self.aborts.own(self.keys, code, reason, self._members)
        return [Persist(self._closed), Broadcast(audience(self.plan), ballot)]

    def _give_way(self) -> list[Effect]:
        """To others' ballots: they may make the abort certain, or our going on pointless."""
        if (proof := self.aborts.proof) is not None:
            return self._abort_for_certain(proof)
        vote = None if self._closed or self.root.released else self.aborts.followed(self.me)
        return self._close(vote.code, vote.reason) if vote else []

    def _abort_for_certain(self, proof: AbortProof) -> list[Effect]:
        """Nothing was or will be opened: forget all; initiator and root members tell everybody, once."""
        self._abort_proof, last = self._abort_proof or proof, proof.votes[0]
        if self._delivery.result is not None or events.is_final(self.outcome):
            return []
        self._closed = self._closed or Closed(last.code, last.reason)
        self._forget()
        self._adders.clear()  # what is not stored any more must not bind us either: no proposal from here on
        self.outcome = events.Aborted(last.code, last.reason, definite=True)
        tells = self.initiator is not None or self.root.speaks(self.lost)
        return [Publish(self.outcome), *([Broadcast(self.plan.parties, proof)] if tells else [])]

    def _give_up(self, now: float) -> list[Effect]:
        """Time is over: all wait a little for ballots, or to see the end of an opening that has begun."""
        late = Closed("C-303", f"no result within {self.plan.total_ms / 1000:g} s")
        if not self._patient:
            busy = self._closed is not None or self.root.sees_opening(self._members)
            closes = self.me in seatable(self.plan) and not busy
            self._patient = not (closes and self.root.hears_out(now, self._members))
            self._ends = now + (INITIATOR_PATIENCE_S - self.root.heard_out_s if self._patient else RETELL_S)
            return self._close(late.code, late.reason) if closes and self._patient else []
        last = self._closed or next(iter(self.aborts.votes.values()), late)
        self.outcome = events.Aborted(last.code, last.reason, definite=False)
        return [Publish(self.outcome)]
