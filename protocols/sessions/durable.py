"""A session machine that survives a crash of its node: its inputs are stored, and replayed.

The machine inside is deterministic in (plan, seed, contribution) and the sequence of its inputs, each with
its `now`. So the log of its inputs is its state; nothing else of it is stored.

What is stored before what. Inputs wait in memory until a step of the machine speaks in a way that binds it
(any message but LOOSE ones, any Persist): then all that wait, this step's input last, are stored before the
step's effects. Hence at every moment the log is a prefix P of the inputs, and every binding message that ever
left this party came from a step in P. After a crash, torn writes included, some such P is found; the replay
reaches the very state after P, which has said all of that and knows it. What was lost is the effect of loose
messages only: relayed parts, receipts, requests, and what proves itself (plans, certificates, results). They
bind nobody, and are asked for or sent again.

What was missed. A party tells a peer that comes back everything again that it told it before, in the same
order: to the peer it is a slow link, since every message may come late and twice. A restarted party says
`Resumed` to all, so that even those who never saw it gone do the same, and repeats its own messages, which
may have been stored and never sent. To itself it was alone from the last moment that it stored: an adder
whose time to collect went by meanwhile takes some anew, instead of certifying the little it knows.

A message that was taken once is not taken again (a Fetch is: it wants an answer). Refused messages are
replayed too, since a machine that refuses may have learned something on the way; so each sender has a quota
of messages in one session, beyond which nothing of it is heard.

What must not be found. A share that was handed over to the next generation of its committee is not only
dropped here: `HandedOver` has all that was stored made unreadable, and nothing is stored in its place. A
crash after that costs this party the rest of the session, not its secret.

Abstaining is the fallback. The replay must come to the binding records that the log holds, in their order;
if it does not (another version of this software), or if the log outgrew its bound, `restore` raises and the
node takes no part in the session any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from protocols.arithmetic.field import Elements
from protocols.errors import LocalMisuse, ProtocolError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Send
from protocols.sessions import events
from protocols.sessions.excerpt import KnownPlan
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import (
    LOCAL_MESSAGES,
    NETWORK_MESSAGES,
    NO_VECTOR,
    AbortProof,
    Certificate,
    Complaint,
    Deal,
    Decline,
    Fetch,
    Held,
    Part,
    Parts,
    PeerLinked,
    PeersLost,
    PlanOffer,
    Result,
    Resumed,
)
from protocols.sessions.offers import OFFERS_NETWORK
from protocols.sessions.party import SessionParty
from protocols.sessions.plan import Plan
from protocols.sessions.records import BINDING, Begun, Expired, HandedOver, Heard, Outgrown
from protocols.wire import codec

LOOSE: tuple[type, ...] = (
    PlanOffer, Decline, Part, Parts, Held, Fetch, Complaint, Certificate, Result, AbortProof, Resumed,
    *OFFERS_NETWORK,
)  # fmt: skip
"""Messages that bind nobody: said differently after a restart they contradict nothing."""
MAX_LOG_BYTES = 64 * 1024 * 1024
"""Of one session; the longest plans of short vectors stay far below."""
MAX_TOLD_AGAIN = 16
"""How often one peer is told everything again in one session."""

_BY_NAME: dict[str, type] = {cls.__name__: cls for cls in (*NETWORK_MESSAGES, *LOCAL_MESSAGES)}


class DurableParty:
    """A SessionParty whose inputs are stored as Persist effects and from which `restore` rebuilds it."""

    def __init__(
        self,
        plan: Plan,
        keys: PartyKeys,
        seed: bytes,
        contribution: Elements | None = None,
        refusal: str = "no data for this job",
        masked: Digest = NO_VECTOR,
    ) -> None:
        """As SessionParty's."""
        self.plan = plan
        self.me = keys.party
        self.party = SessionParty(plan, keys, seed, contribution, refusal, masked)
        self.log_bytes = 0
        self._origin = (seed, contribution, refusal, masked)
        self._shift = 0.0
        self._waiting: list[tuple[float, PartyId, object] | float] = []
        self._recording = True
        self._handed_over = False
        self._quota = 512 + 8 * len(plan.parties)
        self._heard: Counter[PartyId] = Counter()
        self._taken: set[tuple[PartyId, object]] = set()
        self._told: dict[tuple[tuple[PartyId, ...], object], object] = {}
        self._told_again: Counter[PartyId] = Counter()
        self._lost: frozenset[PartyId] = frozenset()

    # -- the Machine contract ---------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Store what the machine is made from, then begin."""
        seed, contribution, refusal, masked = self._origin
        self._origin = (b"", None, "", NO_VECTOR)
        begun = Begun(KnownPlan.of(self.plan), seed, contribution, refusal[:500], masked, now)
        return [Persist(begun), *self._noted(self.party.start(now))]

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """Take one authenticated message. Raises ProtocolError."""
        if isinstance(message, Resumed):
            return self._tell_again((sender,))
        if isinstance(message, PeerLinked):
            return self._tell_again((message.party,)) if sender == self.me else []
        returned: tuple[PartyId, ...] = ()
        if isinstance(message, PeersLost):
            lost = frozenset(message.parties)
            if lost == self._lost:
                return []
            returned, self._lost = tuple(sorted(self._lost - lost)), lost
        elif self._is_known(sender, message):
            return []
        at = now + self._shift
        if self._recording and self.outcome is None:
            self._waiting.append((at, sender, message))
        effects = self._stored(self._taking(at, sender, message))
        return [*effects, *(self._tell_again(returned) if returned else [])]

    def expire(self, now: float) -> list[Effect]:
        """A deadline has passed."""
        at, due = now + self._shift, self.party.deadline
        if due is not None and now >= due - self._shift:
            at = max(at, due)  # the sum may have been rounded to just before it
        if self._recording and self.outcome is None:
            self._waiting.append(at)
        return self._stored(self._noted(self.party.expire(at)))

    @property
    def deadline(self) -> float | None:
        """When to look again."""
        inner = self.party.deadline
        return None if inner is None else inner - self._shift

    @property
    def lost(self) -> frozenset[PartyId]:
        """Whom we were last told we do not reach."""
        return self._lost

    @property
    def outcome(self) -> events.Opened | events.Aborted | None:
        """How it ended, or None while it runs."""
        return self.party.outcome

    @property
    def proof(self) -> Result | AbortProof | None:
        """What shows others how the session ended, if we know."""
        return self.party.proof

    # -- coming back ------------------------------------------------------------------------------

    @classmethod
    def restore(
        cls, keys: PartyKeys, records: Sequence[object], now: float, elapsed_s: float
    ) -> tuple[DurableParty, list[Effect]]:
        """The party as it was after `records`, any prefix of what it had stored, and what to do now.

        `elapsed_s`: time since it began, so that its deadlines stay where they were. Raises LocalMisuse if
        it cannot be rebuilt; the node then takes no part in the session any more.
        """
        if not records or not isinstance(records[0], Begun):
            raise LocalMisuse("the journal has no beginning of this session")
        begun = records[0]
        plan = begun.plan.read(keys.party)
        machine = cls(plan, keys, begun.seed, begun.contribution, begun.refusal, begun.masked)
        effects = machine._replay(records, begun)
        latest = max((r.at for r in records if isinstance(r, Begun | Heard | Expired)), default=begun.at)
        others = tuple(sorted(party for party in plan.parties if party != machine.me))
        if others and machine.outcome is None:
            effects += machine.receive(latest, machine.me, PeersLost(others))
        machine._shift = max(begun.at + max(elapsed_s, 0.0), latest) - now
        hello: list[Effect] = []
        if others:
            hello = [Broadcast(others, Resumed())]
            machine._told = {(others, Resumed()): Resumed(), **machine._told}
        return machine, [*hello, *effects]

    def _replay(self, records: Sequence[object], begun: Begun) -> list[Effect]:
        """Feed the inputs in again; its effects, of which stored ones are left out."""
        effects = self._noted(self.party.start(begun.at))
        for record in records[1:]:
            match record:
                case Heard():
                    message: object = codec.decode(_BY_NAME[record.name], record.body)
                    if isinstance(message, PeersLost):
                        self._lost = frozenset(message.parties)
                    else:
                        self._is_known(record.sender, message)
                    try:
                        effects += self._taking(record.at, record.sender, message)
                    except ProtocolError:
                        continue  # it was refused then as well
                case Expired():
                    effects += self._noted(self.party.expire(record.at))
                case Outgrown():
                    raise LocalMisuse("more was heard in this session than the journal keeps")
                case HandedOver():
                    raise LocalMisuse("our share was handed over, and what it came from is erased")
        self._origin = (b"", None, "", NO_VECTOR)
        stored = [record for record in records if isinstance(record, BINDING)]
        replayed = [effect.record for effect in effects if isinstance(effect, Persist)]
        if replayed[: len(stored)] != stored:
            raise LocalMisuse("the replay does not come to what was stored: made by another version")
        owed: list[Effect] = [Persist(record) for record in replayed[len(stored) :]]
        return [*owed, *(effect for effect in effects if not isinstance(effect, Persist))]

    # -- storing and telling ----------------------------------------------------------------------

    def _is_known(self, sender: PartyId, message: object) -> bool:
        """Whether it was taken before; if not it counts. Raises UnexpectedMessage beyond the quota."""
        if not isinstance(message, Fetch) and (sender, _key(message)) in self._taken:
            return True
        self._heard[sender] += 1
        if sender != self.me and self._heard[sender] > self._quota:
            raise UnexpectedMessage(f"{sender.short()} has said more than a session needs")
        return False

    def _taking(self, at: float, sender: PartyId, message: object) -> list[Effect]:
        effects = self._noted(self.party.receive(at, sender, message))
        if not isinstance(message, PeersLost):
            self._taken.add((sender, _key(message)))
        return effects

    def _stored(self, effects: list[Effect]) -> list[Effect]:
        """Before a step that binds us: everything heard up to it."""
        if self.party.posts.handed_over and not self._handed_over and self.outcome is None:
            self._handed_over, self._recording = True, False
            self._waiting.clear()
            return [Persist(HandedOver(KnownPlan.of(self.plan))), *effects]
        if not self._recording or not any(_binds(effect) for effect in effects):
            return effects
        records: list[Effect] = []
        for item in self._waiting:
            if isinstance(item, float):
                records.append(Persist(Expired(item)))
                continue
            at, sender, message = item
            body = codec.encode(message)
            self.log_bytes += len(body) + 64
            records.append(Persist(Heard(at, sender, type(message).__name__, body)))
        self._waiting.clear()
        if self.log_bytes > MAX_LOG_BYTES:
            self._recording = False
            return [Persist(Outgrown()), *effects]
        return [*records, *effects]

    def _noted(self, effects: list[Effect]) -> list[Effect]:
        """Remember what we tell whom, once, the oldest forgotten beyond four quotas."""
        for effect in effects:
            match effect:
                case Send():
                    self._told.setdefault(((effect.to,), _key(effect.message)), effect.message)
                case Broadcast():
                    self._told.setdefault((effect.to, _key(effect.message)), effect.message)
        while len(self._told) > 4 * self._quota:
            del self._told[next(iter(self._told))]
        return effects

    def _tell_again(self, peers: Sequence[PartyId]) -> list[Effect]:
        """Everything that we told these peers, in order; not more often than MAX_TOLD_AGAIN each."""
        eager = {peer for peer in peers if self._told_again[peer] < MAX_TOLD_AGAIN and peer != self.me}
        self._told_again.update(eager)
        effects: list[Effect] = []
        for (to, _), message in self._told.items():
            again = tuple(peer for peer in to if peer in eager)
            if again:
                effects.append(Broadcast(again, message))
        return effects


def _binds(effect: Effect) -> bool:
    """Whether this effect must never be contradicted."""
    if isinstance(effect, Send | Broadcast):
        return not isinstance(effect.message, LOOSE)
    return isinstance(effect, Persist)


def _key(message: object) -> object:
    """What tells a message from others of its class: itself, or its encoding where it holds vectors."""
    match message:
        case Deal():
            return Deal, message.dealing.signature, message.sealed, message.certificate is None
        case Part():
            return Part, message.dealing.signature, message.sealed
    try:
        hash(message)
    except TypeError:
        return type(message), codec.encode(message)
    return message
