"""Long vectors beside the session: masked, added up the tree as integers, unmasked with the opened key.

    device      masks its vector, deals the mask's key (its dealing names the vector), sends the vector once
    leaf adder  counts a dealing only when its vector is here whole; adds the certified roster's vectors
    adder above takes a cluster's sum with the cluster's key sum; its name is fixed in the certified roster
    root adder  adds the clusters' sums and hands the masked total to whoever the plan names
    receiver    unmasks it with the opened sum of keys (masking.one_shot), which vouches for itself: a sum
                that is not that of the certified roster shows as noise or by its check

Machines see names only (digests over all pieces); bytes stay in the node's vector store, which tells of
arrivals by VectorStored and adds on a Combine effect. An adder learns nothing from masked vectors. It could
add wrongly; then the total does not unmask, or, if it forged the check as well (its weights are public), the
initiator's audit finds it (`auditor`). No party takes the total before: devices wait for the initiator's
word, unless it is lost. Until that word they send their vectors again if an adder is lost. An adder that
failed the audit is passed over from then on by everybody (`progress`).

If an adder is lost after its roster was certified, devices that are still here send again to the next one.

Generations. A stage that loses members while it collects ends a generation with an interim roster, whose sum
of keys is in that of the next one (`handover`). The vectors follow: those behind a final roster, and behind
the interim ones whose sums are in it, are added (`Ledger.behind`). That is one set: an interim roster's
digest is in the roster after it, a vector's name in the signed dealing. What is dealt again is the same key,
named with the same vector: a device makes one of each in a session. A handover after the final roster moves
keys only. An adder lists what it has the vectors of, and waits for those behind the sum of the generation
before as long as anybody is there who could send them; without one of them it leaves that whole sum out.

Privacy does not rest on who adds what. Suppose that every masked vector c_i = a s_i + e_i + Delta x_i is
known to everybody, and all adders lie. Then all there is to learn of x is in what is known of the keys s_i:

    from members      at most t of each generation are corrupt: t shares of a key as it was dealt to each, of
                      each sum as it moved on; all drawn anew, so they say nothing of any (see `handover`)
    from the end      sum s_i over C, the certified contributors: of a generation one roster is certified,
                      whichever ranks propose; an interim sum is neither opened nor dealt upward, and two
                      generations that hold a final sum hold the same one, so nothing but this sum is opened

So sum x_i over C is known, and for any other set S the vectors are still masked by the keys of who is in one
of S and C only. No adder, and no two of different ranks with t members each of different generations, makes a
second set openable by adding or naming other vectors: keys decide that, and the quorums that certify their
set. Other vectors come to a wrong total, which the check and the audit show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocols.errors import UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Combine, Effect, Publish, Send, Transfer
from protocols.sessions import audit, events
from protocols.sessions.adder import Adder
from protocols.sessions.assembly import first_generation
from protocols.sessions.auditor import Audit
from protocols.sessions.bulk_messages import (
    AdderReplaced,
    AuditOpen,
    AuditPassed,
    AuditRequest,
    AuditTag,
    ClusterVector,
    Fingerprinted,
    SumClaim,
    TotalVector,
    VectorsAdded,
    VectorStored,
)
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import AuditOpened, Certificate, Result
from protocols.sessions.plan import Plan
from protocols.sessions.progress import Progress
from protocols.sessions.vectors import Vectors
from protocols.sessions.witness import Witness

NEXT_SUM_S = 30.0
"""How long the initiator waits for the sum of the adder that takes over from one that lied."""


class BulkWork:
    """One party's part in moving masked vectors; idle in sessions without them."""

    def __init__(self, plan: Plan, keys: PartyKeys, masked: Digest, progress: Progress) -> None:
        """`masked`: our own vector, or NO_VECTOR; `progress`: which adders are passed over."""
        self.plan = plan
        self.me = keys.party
        self._progress = progress
        self._keys = keys
        self._witness = Witness(plan, keys, masked)
        self._claims: dict[tuple[int, PartyId], SumClaim] = {}
        self._audit: Audit | None = None
        self._passed: set[Digest] = set()
        self._waits_until: float | None = None
        self.vectors = Vectors(plan)
        self.total: Digest | None = None
        self._sums: dict[int, Digest] = {}
        self._combining: set[int] = set()
        self._sent_up: dict[int, PartyId] = {}
        self._told: set[PartyId] = set()
        self._announced = False
        self._named: dict[tuple[int, PartyId], Digest] = {}
        self._told_us: dict[PartyId, Digest] = {}

    @property
    def is_awaited(self) -> bool:
        """Whether the masked total is not known to have been taken: then an adder may need vectors again."""
        return self.plan.bulk is not None and not self._passed

    @property
    def deadline(self) -> float | None:
        """When an audit, or the wait for the next adder's sum, is over."""
        if self._announced:
            return None
        if self._audit is not None and self._audit.verdict is None:
            return self._audit.deadline
        return self._waits_until

    def receive(
        self,
        sender: PartyId,
        message: object,
        lost: frozenset[PartyId],
        adders: Mapping[tuple[int, int], Adder],
    ) -> list[Effect]:
        """What others, or our own store, tell us. Raises ProtocolError from the wrong party."""
        if self.plan.bulk is None and sender != self.me:  # a plan by role shows no list of stages, either
            raise UnexpectedMessage("no masked vectors belong to this session")
        match message:
            case VectorStored() if sender == self.me:
                self.vectors.stored.add(message.name)
            case VectorsAdded() if sender == self.me:
                self.vectors.stored.add(message.name)
                self._sums[message.stage] = message.name
            case Fingerprinted() if sender == self.me:
                if self._audit is not None:
                    self._audit.fingerprinted(message)
                return self._witness.fingerprinted(message)
            case ClusterVector():
                if (
                    message.child >= len(self.plan.stages)
                    or sender not in self.plan.stages[message.child].adders
                ):
                    raise UnexpectedMessage("a cluster's sum comes from its adders")
                self._named[message.child, sender] = message.name
            case TotalVector():
                if not any(sender in stage.adders for stage in self.plan.stages):
                    raise UnexpectedMessage("the masked total comes from an adder")
                self._told_us[sender] = message.name
            case _:
                return self._of_audit(sender, message, adders)
        self._believe(lost)
        return []

    def _of_audit(
        self, sender: PartyId, message: object, adders: Mapping[tuple[int, int], Adder]
    ) -> list[Effect]:
        audits = self.plan.initiator == self.me
        match message:
            case SumClaim() if audits and sender == message.adder:
                audit.check_claim(self.plan, message)
                self._claims[message.stage, sender] = message
            case AuditTag() if audits and self._audit is not None:
                self._audit.tag(sender, message)
            case AuditOpened() if audits and self._audit is not None:
                self._audit.opened(sender, message)
            case AuditRequest() if sender == self.plan.initiator:
                return self._witness.asked(message)
            case AuditOpen() if sender == self.plan.initiator and (adder := _adding(adders, message.stage)):
                return self._witness.questioned(message, adder)
            case AuditPassed() if sender == self.plan.initiator:
                self._passed.add(message.name)
            case AdderReplaced() if sender == self.plan.initiator and message.stage == self.plan.root:
                self._ban(message.adder)
            case _:
                raise UnexpectedMessage(f"{type(message).__name__} from the wrong party")
        return []

    def _ban(self, adder: PartyId) -> None:
        """What it said of the total is void. Raises UnexpectedMessage unless another rank is left."""
        ranks = set(self.plan.stages[self.plan.root].adders)
        if adder not in ranks or not ranks - self._progress.banned - {adder}:
            raise UnexpectedMessage("no adder is left to replace this one")
        self._progress.ban(adder)
        self._told_us.pop(adder, None)
        self.total = None

    def _believe(self, lost: frozenset[PartyId]) -> None:
        """Names count from the adder in office only: a lower rank must not put its own in their place."""
        for child in range(len(self.plan.stages)):
            named = [self._named[child, a] for a in self._ranks(child, lost) if (child, a) in self._named]
            self.vectors.of_child.update((child, name) for name in named[:1])
        told = [self._told_us[adder] for adder in self._those_who_tell(lost) if adder in self._told_us]
        if told and self.total not in self.vectors.stored:
            self.total = next((name for name in told if name in self.vectors.stored), told[0])

    def _adder(self, stage: int, lost: frozenset[PartyId]) -> PartyId | None:
        return first_generation(self.plan, stage).current_adder(lost | self._progress.stalled(stage))

    def _those_who_tell(self, lost: frozenset[PartyId]) -> list[PartyId]:
        """In office: the root's adder, our own cluster's, and those above the stages that we add for."""
        stages = [self.plan.root]
        cluster = self.plan.cluster_of(self.me)
        if cluster is not None:
            stages.append(cluster)
        for index, stage in enumerate(self.plan.stages):
            if self.me in stage.adders and index != self.plan.root:
                stages.append(self.plan.parent_of(index))
        return [adder for stage in stages for adder in self._ranks(stage, lost)]

    def _ranks(self, stage: int, lost: frozenset[PartyId]) -> list[PartyId]:
        """In office as we see it, and as somebody does who has passed nobody over: we may have done so in
        vain, where nobody told us of the stage's certificate.
        """
        first, banned = first_generation(self.plan, stage), self._progress.banned_at(stage)
        found = (self._adder(stage, lost), first.current_adder(lost | banned))
        return [adder for adder in dict.fromkeys(found) if adder is not None]

    def advance(
        self,
        now: float,
        lost: frozenset[PartyId],
        adders: Mapping[tuple[int, int], Adder],
        result: Result | None,
    ) -> list[Effect]:
        """Add what can be added, send sums up, audit and hand the total down; once each."""
        if self.plan.bulk is None:
            return []
        self._believe(lost)
        self._told -= lost  # what was under way to them may be lost; who comes back gets it again
        self._sent_up = {stage: above for stage, above in self._sent_up.items() if above not in lost}
        effects = self._certify(now, adders, result)
        for (stage, _), adder in adders.items():
            if not adder.names_vectors:
                continue
            if stage not in self._combining and adder.in_office and (parts := adder.parts()) is not None:
                self._combining.add(stage)
                effects.append(Combine(stage, parts))
            if stage in self._sums:
                effects += self._pass_up(stage, lost, adder) if stage != self.plan.root else []
        if self.plan.root in self._sums and self.me not in self._progress.banned:
            self.total = self._sums[self.plan.root]
        if result is not None and self.plan.initiator == self.me and not self._announced:
            effects += self._examine(now, lost, result)
        return [*effects, *self._hand_down(lost, adders, result)]

    def _certify(
        self, now: float, adders: Mapping[tuple[int, int], Adder], result: Result | None
    ) -> list[Effect]:
        """As an adder that takes over after the end: the result holds the certificate that it never saw."""
        if result is None:
            return []
        effects: list[Effect] = []
        for certificate in (*result.interim, _first(result)):
            adder = adders.get((self.plan.root, certificate.roster.generation))
            if adder is not None and adder.certificate is None:
                effects += adder.receive(now, self.me, certificate)
        return effects

    def _examine(self, now: float, lost: frozenset[PartyId], result: Result) -> list[Effect]:
        """As the initiator: audit the claim of who told us the total, and act on the verdict."""
        if self._waits_until is not None and now >= self._waits_until:
            self._waits_until = None
            return [Publish(events.TotalLost("the next adder did not come to a sum"))]
        made, current = self._told_claim(lost), self._audit
        if made is not None and (current is None or made != current.claim or current.abandoned):
            counted = (_first(result), *result.interim)
            self._audit = Audit(self.plan, made, counted, self.vectors.stored, self._claims, current)
            self._waits_until = None
            return self._audit.start(now)
        if current is None or current.verdict is not None:
            return []
        effects = current.advance(now, lost)
        if current.verdict is True:
            self._passed.add(current.claim.name)
        elif current.verdict is False:
            effects += self._replace(now, current)
        return effects

    def _told_claim(self, lost: frozenset[PartyId]) -> SumClaim | None:
        """Of an adder of the root, not ourselves, that told us the total that we have in hand."""
        root = self.plan.root
        said = (self._claims.get((root, adder)) for adder in self._ranks(root, lost) if adder != self.me)
        return next((made for made in said if made is not None and made.name == self.total), None)

    def _replace(self, now: float, failed: Audit) -> list[Effect]:
        """The next rank adds, where the stage's devices can send to it."""
        stage, adder = self.plan.stages[self.plan.root], failed.claim.adder
        if failed.abandoned and failed.culprit == failed.claim:
            self._waits_until = now + NEXT_SUM_S
            return []
        if failed.culprit != failed.claim or not set(stage.adders) - self._progress.banned - {adder}:
            return [Publish(events.TotalLost("the masked total is not the sum of the certified vectors"))]
        self._waits_until = now + NEXT_SUM_S
        below = [party for child in stage.children for party in self.plan.stages[child].adders]
        told = dict.fromkeys((*stage.members, *stage.dealers, *stage.adders, *below, self.me))
        return [Broadcast(tuple(told), AdderReplaced(self.plan.root, adder))]

    def _pass_up(self, stage: int, lost: frozenset[PartyId], adder: Adder) -> list[Effect]:
        """To the adder in office above; the claim goes to the initiator, for an audit that fails."""
        above = self._adder(self.plan.parent_of(stage), lost)
        if above is None or self._sent_up.get(stage) == above:
            return []
        self._sent_up[stage] = above
        name = self._sums[stage]
        claim = self._claim(adder, name)
        return [Send(above, ClusterVector(stage, name)), *claim, *_transfer((above,), name, self.me)]

    def _hand_down(
        self, lost: frozenset[PartyId], adders: Mapping[tuple[int, int], Adder], result: Result | None
    ) -> list[Effect]:
        """From the root's adder to the initiator, or from adder to adder to every device."""
        name = self.total
        if result is None or name is None or name not in self.vectors.stored:
            return []
        effects: list[Effect] = []
        if not self._announced and self._counts(name, lost):
            self._announced = True
            effects.append(Publish(events.MaskedTotal(name)))
            if self.plan.initiator == self.me:
                effects.append(Broadcast(self.plan.dealers, AuditPassed(name)))
        told: dict[PartyId, None] = {}
        for (index, _), adder in adders.items():
            stage = self.plan.stages[index]
            if index == self.plan.root and adder.in_office:
                told[self.plan.initiator] = None
            if self.plan.bulk is not None and self.plan.bulk.to_all and adder.in_office:
                told.update(dict.fromkeys(stage.dealers))
                told.update((self.plan.stages[child].adders[0], None) for child in stage.children)
        reached = self._told | lost | {self.me}
        fresh = tuple(party for party in told if party not in reached)
        self._told.update(fresh)
        effects += [Send(party, TotalVector(name)) for party in fresh]
        root, made = _adding(adders, self.plan.root), self._sums.get(self.plan.root)
        if self.plan.initiator in fresh and root is not None and root.in_office and made is not None:
            effects += self._claim(root, made)
        return [*effects, *_transfer(fresh, name, self.me)]

    def _claim(self, adder: Adder, name: Digest) -> list[Effect]:
        """Sign the sum that we made of a certified roster."""
        if adder.certificate is None:
            return []
        made = audit.claim(self._keys, self.plan.session, adder.certificate, name)
        return [Send(self.plan.initiator, made)]

    def _counts(self, name: Digest, lost: frozenset[PartyId]) -> bool:
        """Whether we may take this total: we audited it or made it ourselves, or were told that it passed."""
        audits = self.plan.initiator == self.me
        if audits and self._adder(self.plan.root, lost) == self.me:
            return True
        if name in self._passed:
            return True
        to_all = self.plan.bulk is not None and self.plan.bulk.to_all
        return to_all and not audits and self.plan.initiator in lost


def _adding(adders: Mapping[tuple[int, int], Adder], stage: int) -> Adder | None:
    """Our post in the generation of a stage whose final roster names the vectors."""
    return next((adder for slot, adder in adders.items() if slot[0] == stage and adder.names_vectors), None)


def _first(result: Result) -> Certificate:
    """The root's final roster of devices, on which the masked sum rests: a handover moves keys only."""
    return result.handovers[0].certificate if result.handovers else result.certificate


def _transfer(to: Sequence[PartyId], name: Digest, me: PartyId) -> list[Effect]:
    """A transfer to everybody but ourselves, who have it."""
    others = tuple(party for party in to if party != me)
    return [Transfer(others, name)] if others else []
