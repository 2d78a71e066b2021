"""The initiator checks the masked total before it counts: was every certified vector added, and nothing else?

    ask       each contributor for the fingerprint of its vector, under the challenge of the adder's claim
    open      what those who are gone would have said: their adder shows their vectors, at most MAX_OPENED
    compare   the sum of fingerprints with that of the claimed vector
    dispute   on a mismatch the adder may show which tags are false: their devices are named, their vectors
              fingerprinted here, and the sum is compared again
    judge     what still does not add up was added wrongly: the adder is named, with evidence (`audit`), and
              replaced; the next rank adds the same roster's vectors, which devices send again

Devices are asked as soon as there is a claim, while the total is still on its way: the challenge is the
hash of the claim, which names the total and every part, so nothing is left to choose by whoever sees an
answer first.

The total is not handed on before that (`bulk`). An adder that does not answer in AUDIT_WAIT_S is replaced
and named without proof; one that is gone by then is neither, and the next rank is awaited: what devices said
is good for its claim of the same sum, too. Vectors of devices that are gone die with a lying adder: then the
next rank never comes to a sum, and the session ends without one.

In a tree one audit covers all stages: the total's. If it fails, the root's adder shows the sums below it, and
the one is suspected that is not the sum of its parts; its adder may dispute as above. (A stage between leaves
and root stands for all below it.) The root's adder is replaced; the sum of another is fixed in the certified
roster, and the session ends without a total.

What is left open: when more contributors are gone than MAX_OPENED, or any in a tree, the sum is accepted on
its own check (`masking.checksum`), and this is said.

States of a claim: ASKING -> [OPENING] -> [DISPUTED or LOCATING] -> passed or condemned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Fingerprint, Publish, Send
from protocols.sessions import audit, events
from protocols.sessions.assembly import first_generation
from protocols.sessions.bulk_messages import AuditOpen, AuditRequest, AuditTag, Fingerprinted, SumClaim
from protocols.sessions.dealing import check_vector, dealing_digest
from protocols.sessions.messages import AuditOpened, Certificate, Dealing
from protocols.sessions.plan import Plan
from protocols.sessions.roster import roster_digest

AUDIT_WAIT_S = 10.0
"""For an answer that is short; one that is a vector, or takes work on one, has SLOW_S_A_VALUE longer."""
SLOW_S_A_VALUE = 4e-6
"""A packed value at 1 MB/s; also far more than fingerprinting it takes on a small device."""
LONGEST_WAIT_S = 25.0
"""Nodes stay in a session for about a minute after its keys are open."""
MAX_OPENED = 16
"""Vectors that an adder opens in one audit: each is as long as the total."""

_ASKING, _OPENING, _DISPUTED, _LOCATING = "asking", "opening", "disputed", "locating"


class Audit:
    """One claim under examination; `verdict` is None until it is known, then whether the sum counts."""

    def __init__(
        self,
        plan: Plan,
        claim: SumClaim,
        certificates: tuple[Certificate, ...],
        stored: Set[Digest],
        claims: Mapping[tuple[int, PartyId], SumClaim],
        before: Audit | None = None,
    ) -> None:
        """`certificates`: that of the claim's roster, and the interim ones of its stage before it. What grows
        in time: `stored`, the vectors that are here whole, and `claims`, of each stage's adders. Of what
        `before` was told for the same challenge, as another adder claims the same, nothing is asked again.
        """
        certificate, *_ = certificates
        audit.check_claim(plan, claim)
        if roster_digest(plan.session, certificate.roster) != claim.roster:
            raise MalformedMessage("a sum is claimed of another roster than the certified one")
        self.plan = plan
        self.claim = claim
        self.verdict: bool | None = None
        self.culprit: SumClaim | None = None
        self.deadline: float | None = None
        self.challenge = audit.challenge_of(plan.session, claim)
        self._contributors = certificate.roster.contributors
        groups = audit.behind(plan, certificates)
        self._entries = {e.dealing: e.dealer for group in groups for e in group.entries}
        self._sums = {group.child: group.vector for group in groups if group.child >= 0}
        self._claims = claims
        self._suspect = claim
        self._scope = certificate.roster.contributors
        self._flat = not plan.stages[claim.stage].children
        self._stored = stored
        self._state = _ASKING
        self._tags: dict[PartyId, AuditTag] = {}
        self._opened: dict[PartyId, Dealing] = {}
        self._words: dict[Digest, bytes] = {}
        self._asked: set[Digest] = set()
        if before is not None and before.challenge == self.challenge:
            self._tags, self._words, self._asked = before._tags, before._words, before._asked
        self._answered = False
        self._late = False
        self._lost: frozenset[PartyId] = frozenset()
        self.abandoned = False
        """Whether it ended because the adder that had to answer is gone: that tells nothing of its sum."""

    def start(self, now: float) -> list[Effect]:
        """Ask everybody; the total itself may still be on its way."""
        self.deadline = now + self._wait_s()
        asked = tuple(who for who in self._contributors if who not in self._tags)
        request: list[Effect] = [Broadcast(asked, AuditRequest(self.claim))] if asked else []
        return [*request, *self._look_at_total()]

    def _look_at_total(self) -> list[Effect]:
        if self.claim.name in self._asked or self.claim.name not in self._stored:
            return []
        self._asked.add(self.claim.name)
        return [Fingerprint(self.challenge, self.claim.name)]

    # -- answers ----------------------------------------------------------------------------------

    def tag(self, sender: PartyId, message: AuditTag) -> None:
        """A contributor's word. Raises ProtocolError if it is none."""
        if message.challenge != self.challenge or sender not in self._contributors:
            raise UnexpectedMessage("a fingerprint that was not asked for")
        if message.dealer != sender:
            raise MalformedMessage("a fingerprint comes from its device", blame=sender)
        audit.check_tag(message)
        self._tags.setdefault(sender, message)

    def opened(self, sender: PartyId, message: AuditOpened) -> None:
        """The adder's answer. Raises ProtocolError if it is none, or shows dealings that do not count."""
        if sender != self._suspect.adder or message.challenge != self.challenge or self._state == _ASKING:
            raise UnexpectedMessage("an answer to an audit that was not asked for")
        assembly = first_generation(self.plan, self._suspect.stage)
        for dealing in message.dealings[:MAX_OPENED]:
            check_vector(assembly, dealing)
            if self._flat and self._entries.get(dealing_digest(assembly, dealing)) != dealing.dealer:
                raise MalformedMessage("a vector is shown that is not on the roster", blame=sender)
            self._opened[dealing.dealer] = dealing
        self._answered = len(message.dealings) <= MAX_OPENED

    def fingerprinted(self, message: Fingerprinted) -> None:
        """Our own store's word on the total, or on an opened vector."""
        if message.challenge == self.challenge:
            self._words[message.name] = message.words

    # -- the course of it ---------------------------------------------------------------------------

    def advance(self, now: float, lost: frozenset[PartyId]) -> list[Effect]:
        """Whatever has become possible."""
        self._lost = lost
        if self.deadline is not None and now >= self.deadline:
            self.deadline, self._late = None, True
        if self.verdict is not None or self.claim.name not in self._words:
            return self._look_at_total() if self.verdict is None else []
        names = {dealing.vector for dealing in self._opened.values()} - self._asked
        fresh = sorted(name for name in names if name in self._stored)
        self._asked.update(fresh)
        effects: list[Effect] = [Fingerprint(self.challenge, name) for name in fresh]
        if self._state == _LOCATING:
            return self._locate(now)
        missing = [who for who in self._contributors if self._said(who) is None]
        if self._state == _ASKING and missing:
            if all(who in lost for who in missing) or self._late:
                effects += self._open(now, missing)
        elif missing or any(d.vector not in self._words for d in self._opened.values()):
            if self._late:
                effects += self._condemn(self.claim, "did not show the vectors it added", proven=False)
        elif self._state != _DISPUTED or self._answered or self._late:
            effects += self._compare(now)
        return effects

    def _said(self, who: PartyId) -> bytes | None:
        """Fingerprint of a contributor's vector: what we saw ourselves before what its device says."""
        dealing = self._opened.get(who)
        if dealing is not None:
            return self._words.get(dealing.vector)
        return self._tags[who].words if who in self._tags else None

    def _open(self, now: float, missing: list[PartyId]) -> list[Effect]:
        if len(missing) > MAX_OPENED or not self._flat:
            why = f"{len(missing)} of {len(self._contributors)} contributors are gone"
            self.verdict = True
            return [Publish(events.Progress(self.claim.stage, "audit left open", why))]
        self._enter(now, _OPENING)
        return [Send(self.claim.adder, AuditOpen(self.claim.stage, self.challenge, tuple(missing), ()))]

    def _compare(self, now: float) -> list[Effect]:
        """The sum under suspicion, at first the total, against the fingerprints of its parts."""
        parts = [one for who in self._scope if (one := self._said(who)) is not None]
        if audit.adds_up(self.plan, parts, self._words[self._suspect.name]):
            return self._locate(now) if self._suspect != self.claim else self._pass()
        if self._state == _DISPUTED:
            return [*self._liars(), *self._condemn(self._suspect, "added wrongly", proven=self._answered)]
        if self._flat:
            return self._dispute(now, self.claim, self._scope)
        self._enter(now, _LOCATING)
        return [Send(self.claim.adder, AuditOpen(self.claim.stage, self.challenge, (), ()))]

    def _pass(self) -> list[Effect]:
        self.verdict = True
        detail = f"{len(self._contributors)} fingerprints add up"
        return [*self._liars(), Publish(events.Progress(self.claim.stage, "audited", detail))]

    def _enter(self, now: float, state: str) -> None:
        self._state, self.deadline = state, now + self._wait_s()
        self._answered = self._late = False

    def _wait_s(self) -> float:
        assert self.plan.bulk is not None
        return min(LONGEST_WAIT_S, AUDIT_WAIT_S + SLOW_S_A_VALUE * self.plan.bulk.length)

    def _dispute(self, now: float, made: SumClaim, scope: tuple[PartyId, ...]) -> list[Effect]:
        """Let an adder show which tags belie it falsely."""
        self._enter(now, _DISPUTED)
        self._suspect, self._scope = made, scope
        tags = tuple(self._tags[who] for who in sorted(scope) if who in self._tags)
        return [Send(made.adder, AuditOpen(made.stage, self.challenge, (), tags))]

    def _locate(self, now: float) -> list[Effect]:
        """In a tree: the sums below, which the certified roster names, against the total and against tags."""
        fresh = sorted(name for name in {*self._sums.values()} - self._asked if name in self._stored)
        self._asked.update(fresh)
        effects: list[Effect] = [Fingerprint(self.challenge, name) for name in fresh]
        words = {child: self._words.get(name) for child, name in self._sums.items()}
        parts = [part for part in words.values() if part is not None]
        if len(parts) < len(words):
            if not self._late:
                return effects
            return [*effects, *self._condemn(self.claim, "did not show the sums it added", proven=False)]
        if not audit.adds_up(self.plan, parts, self._words[self.claim.name]):
            return [*effects, *self._condemn(self.claim, "added wrongly", proven=True)]
        for child, name in self._sums.items():
            below = tuple(self._below(child))
            said = [one for who in below if (one := self._said(who)) is not None]
            if not audit.adds_up(self.plan, said, self._words[name]):
                made = self._claimed(child, name)
                return self._condemn(None, "", False) if made is None else self._dispute(now, made, below)
        return self._pass()

    def _below(self, stage: int) -> Iterator[PartyId]:
        """Contributors whose vectors are in a stage's sum."""
        entry = self.plan.stages[stage]
        yield from (who for who in entry.dealers if who in self._contributors)
        for child in entry.children:
            yield from self._below(child)

    def _liars(self) -> list[Effect]:
        """Devices whose signed fingerprint is not that of the vector their signed dealing names."""
        false = [
            who
            for who, dealing in sorted(self._opened.items())
            if who in self._tags
            and (self._tags[who].vector, self._tags[who].words)
            != (dealing.vector, self._words[dealing.vector])
        ]
        return [Publish(events.Named(who, "gave a false fingerprint", proven=True)) for who in false]

    def _condemn(self, made: SumClaim | None, fault: str, proven: bool) -> list[Effect]:
        """The total is refused, by the fault of whoever made this claim, if it is known who that is."""
        self.verdict, self.culprit = False, made
        self.abandoned = made is not None and not proven and made.adder in self._lost
        if made is None or self.abandoned:
            return []
        below = set(self._below(made.stage))
        tags = tuple(tag for who, tag in sorted(self._tags.items()) if who in below)
        evidence = audit.Evidence(made, tags, self.claim)
        named = Publish(events.Named(made.adder, fault, proven))
        return [named, Publish(events.SumRefused(evidence, proven))]

    def _claimed(self, stage: int, name: Digest) -> SumClaim | None:
        made = (claim for (index, _), claim in self._claims.items() if index == stage)
        return next((claim for claim in made if claim.name == name), None)
