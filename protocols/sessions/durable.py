"""A session machine that survives a crash of its node: its inputs are stored, and replayed.

The machine inside is deterministic in (plan, seed, contribution) and the sequence of its inputs, each with
its `now`. So the log of its inputs is its state. To replay many is slow (0.15 ms each): if SNAPSHOT_EVERY of
them are to be stored since the last time, the state itself is stored in their place, and stands for all that
was stored before. Where inputs are said to be stored below, such a `Snapshot` is meant as well: it is one
record that holds them, and what the party said in that step.

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
dropped here: a Snapshot without it takes the place of all that was stored, which is made unreadable. Neither
that state nor what is stored after it tells the share to who has it and the keys of this node:

  - of messages taken, which must be known again, there is a digest only; none to that seat is stored from
    then on, and what was sealed to it and passed our hands as an adder is dropped (`Posts.blind`); only our
    own dealing may be found, one input of the sum, which was ours;
  - the share as we dealt it again is kept, for another adder, sealed to the new seats; the seed that would
    open these sealings has been replaced (`SessionParty._erase`); our own new seat opens one share of t + 1.

A state that is too large (MAX_LOG_BYTES) is not stored: then `HandedOver` takes the place of all, and a crash
costs this party the rest of the session, not its secret.

Abstaining is the fallback. The replay must come to the binding records that the log holds, in their order,
and a state must have been taken from the very classes we have; if not (another version of this software), or
if the log outgrew its bound, `restore` raises and the node takes no part in the session any more.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from protocols.arithmetic.field import Elements
from protocols.errors import LocalMisuse, ProtocolError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Send
from protocols.sessions import events, snapshot
from protocols.sessions.binding import MARK, binds, key, mark
from protocols.sessions.excerpt import KnownPlan, stored_plan
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import (
    LOCAL_MESSAGES,
    NETWORK_MESSAGES,
    NO_VECTOR,
    AbortProof,
    Deal,
    Fetch,
    Part,
    Parts,
    PeerLinked,
    PeersLost,
    Result,
    Resumed,
)
from protocols.sessions.party import SessionParty
from protocols.sessions.plan import Plan
from protocols.sessions.records import BINDING, Begun, Expired, HandedOver, Heard, Outgrown, Snapshot
from protocols.wire import codec

MAX_LOG_BYTES = 64 * 1024 * 1024
"""Of one session; the longest plans of short vectors stay far below."""
SNAPSHOT_EVERY = 24
"""Inputs; as many are replayed at most after a crash, beyond those of one step."""
SMALL_STATE = 256 * 1024
"""Bytes; larger states are stored only as often as their inputs come to half as much."""
MAX_TOLD_AGAIN = 16
"""How often one peer is told everything again in one session."""

_SET_ANEW = frozenset(
    ("plan", "me", "_taken", "_waiting", "_began", "_latest", "_shift", "log_bytes", "_state_bytes")
)
"""Attributes that are not in a snapshot's state."""
_BY_NAME: dict[str, type] = {cls.__name__: cls for cls in (*NETWORK_MESSAGES, *LOCAL_MESSAGES)}


class DurableParty:
    """A SessionParty that `restore` rebuilds from its inputs, or its state, stored as Persist effects."""

    snapshot_every = SNAPSHOT_EVERY
    """0: never, not even when a share is handed over: then `HandedOver` takes the place of all."""

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
        self.masked = masked
        self.log_bytes = 0
        """Stored since the last snapshot, it included."""
        self._tail = self._state_bytes = 0
        self._began = self._latest = 0.0
        self._origin = (seed, contribution, refusal, masked)
        self._shift = 0.0
        self._waiting: list[tuple[float, PartyId, object] | float] = []
        self._recording = True
        self._outlived = 0
        self._quota = 512 + 8 * len(plan.parties)
        self._heard: Counter[PartyId] = Counter()
        self._taken: set[tuple[PartyId, object]] = set()
        self._taken_before: set[bytes] = set()
        self._told: dict[tuple[tuple[PartyId, ...], object], object] = {}
        self._done: deque[Effect] = deque(maxlen=4 * self._quota)
        self._told_again: Counter[PartyId] = Counter()
        self._lost: frozenset[PartyId] = frozenset()

    # -- the Machine contract ---------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Store what the machine is made from, then begin."""
        seed, contribution, refusal, masked = self._origin
        self._origin = (b"", None, "", NO_VECTOR)
        self._began = self._latest = now
        begun = Begun(KnownPlan.of(self.plan), seed, contribution, refusal[:500], masked, now)
        return [Persist(begun), *self._noted(self.party.start(now))]

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """Take one authenticated message. Raises ProtocolError."""
        if isinstance(message, Resumed):
            return self._tell_again((sender,), answers=True)
        if isinstance(message, PeerLinked):
            return self._tell_again((message.party,)) if sender == self.me else []
        if self._is_outlived(message):
            taken = isinstance(message, Deal)
            return self._stored(self._taking(now + self._shift, sender, message)) if taken else []
        returned: tuple[PartyId, ...] = ()
        if isinstance(message, PeersLost):
            lost = frozenset(message.parties)
            if lost == self._lost:
                return []
            returned, self._lost = tuple(sorted(self._lost - lost)), lost
        elif self._is_known(sender, message):
            return []
        self._latest = at = now + self._shift
        if self._recording and self._goes_on:
            self._waiting.append((at, sender, message))
        effects = self._stored(self._taking(at, sender, message))
        return [*effects, *(self._tell_again(returned) if returned else [])]

    def expire(self, now: float) -> list[Effect]:
        """A deadline has passed."""
        at, due = now + self._shift, self.party.deadline
        if due is not None and now >= due - self._shift:
            at = max(at, due)  # the sum may have been rounded to just before it
        self._latest = at
        if self._recording and self._goes_on:
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
    def in_doubt(self) -> bool:
        """Whether its time is over and it may still learn, or do its part in, how it ends."""
        return events.in_doubt(self.outcome)

    @property
    def _goes_on(self) -> bool:
        return not events.is_final(self.outcome)

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
        base = max((i for i, record in enumerate(records) if isinstance(record, Snapshot)), default=0)
        records = records[base:]
        if not records or not isinstance(records[0], Begun | Snapshot):
            raise LocalMisuse("the journal has no beginning of this session")
        first = records[0]
        if isinstance(first, Snapshot):
            machine, effects = cls._reopened(keys, first)
        else:
            machine = cls(
                first.plan.read(keys.party), keys, first.seed, first.contribution, first.refusal, first.masked
            )
            machine._began = machine._latest = first.at
            effects = machine._noted(machine.party.start(first.at))
        effects = machine._replay(records, effects)
        others = tuple(sorted(party for party in machine.plan.parties if party != machine.me))
        if others and machine.outcome is None:
            effects += machine.receive(machine._latest, machine.me, PeersLost(others))
        machine._shift = max(machine._began + max(elapsed_s, 0.0), machine._latest) - now
        hello: list[Effect] = []
        if others:
            hello = [Broadcast(others, Resumed())]
            machine._told = {(others, Resumed()): Resumed(), **machine._told}
        return machine, [*hello, *effects]

    def _replay(self, records: Sequence[object], effects: list[Effect]) -> list[Effect]:
        """Feed the inputs in again; `effects` and those that follow, of which stored ones are left out."""
        for record in records[1:]:
            match record:
                case Heard():
                    message: object = codec.decode(_BY_NAME[record.name], record.body)
                    if isinstance(message, PeersLost):
                        self._lost = frozenset(message.parties)
                    else:
                        self._is_known(record.sender, message)
                    self._tail, self._latest = self._tail + 1, max(self._latest, record.at)
                    try:
                        effects += self._taking(record.at, record.sender, message)
                    except ProtocolError:
                        continue  # it was refused then as well
                case Expired():
                    self._tail, self._latest = self._tail + 1, max(self._latest, record.at)
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

    @classmethod
    def _reopened(cls, keys: PartyKeys, found: Snapshot) -> tuple[DurableParty, list[Effect]]:
        """The party as it was at a snapshot, and all that it had said and done by then."""
        machine: DurableParty = cls.__new__(cls)
        machine.plan = found.plan.read(keys.party)
        machine.__dict__.update(snapshot.restored(found.body, found.form, machine.plan, keys))
        machine.me = keys.party
        machine._began, machine._latest = found.began, found.latest
        marks = bytes(vars(machine)["_taken_before"])
        machine._taken_before = {marks[i : i + MARK] for i in range(0, len(marks), MARK)}
        machine._taken, machine._waiting, machine._shift = set(), [], 0.0
        machine.log_bytes = machine._state_bytes = len(found.body)
        told = zip(*vars(machine)["_told"], strict=True)
        machine._told = {(to, key(said)): said for to, said in told if not isinstance(said, Resumed)}
        again = [Broadcast(to, message) for (to, _), message in machine._told.items()]
        return machine, [*again, *machine._done]

    # -- storing and telling ----------------------------------------------------------------------

    def _is_outlived(self, message: object) -> bool:
        """Whether it is about a seat of ours whose share is gone: it binds nobody, nor may it be stored.

        A dealing goes on to those who still fetch it; its adder has the roster's certificate, and says
        nothing that binds it any more.
        """
        if not self._outlived or not isinstance(message, Part | Parts | Deal):
            return False
        return (message.dealing.stage, message.dealing.generation) in self.party.posts.outlived

    def _is_known(self, sender: PartyId, message: object) -> bool:
        """Whether it was taken before; if not it counts. Raises UnexpectedMessage beyond the quota."""
        if not isinstance(message, Fetch):
            if (sender, key(message)) in self._taken:
                return True
            if self._taken_before and mark(sender, key(message)) in self._taken_before:
                return True
        self._heard[sender] += 1
        if sender != self.me and self._heard[sender] > self._quota:
            raise UnexpectedMessage(f"{sender.short()} has said more than a session needs")
        return False

    def _taking(self, at: float, sender: PartyId, message: object) -> list[Effect]:
        effects = self._noted(self.party.receive(at, sender, message))
        if not isinstance(message, PeersLost):
            self._taken.add((sender, key(message)))
        return effects

    def _stored(self, effects: list[Effect]) -> list[Effect]:
        """Before a step that binds us: everything heard up to it, or the state that it led to."""
        outlived = len(self.party.posts.outlived)
        if outlived > self._outlived and self._goes_on:
            self._outlived = outlived
            return self._renewed(effects, erases=True)
        if not self._recording or not any(binds(effect) for effect in effects):
            return effects
        records: list[Effect] = []
        fresh_bytes = 0
        for item in self._waiting:
            if isinstance(item, float):
                records.append(Persist(Expired(item)))
                continue
            at, sender, message = item
            body = codec.encode(message)
            fresh_bytes += len(body) + 64
            records.append(Persist(Heard(at, sender, type(message).__name__, body)))
        self._tail += len(self._waiting)
        self.log_bytes += fresh_bytes
        if 0 < self.snapshot_every <= self._tail and self.outcome is None and self._is_worth_it():
            return self._renewed(effects, erases=False)
        self._waiting.clear()
        if self.log_bytes > MAX_LOG_BYTES:
            self._recording = False
            return [Persist(Outgrown()), *effects]
        return [*records, *effects]

    def _is_worth_it(self) -> bool:
        """Whether a snapshot writes no more than a few times what it replaces."""
        return self._state_bytes <= SMALL_STATE or self.log_bytes >= self._state_bytes * 3 // 2

    def _renewed(self, effects: list[Effect], erases: bool) -> list[Effect]:
        """The state, effects of this step included, in the place of all that was stored."""
        self._waiting.clear()
        body, form = b"", NO_VECTOR
        if self._recording and self.snapshot_every:
            self.party.posts.blind()
            self._taken_before |= {mark(sender, name) for sender, name in self._taken}
            self._taken.clear()
            self._tail = 0
            body, form = snapshot.taken(self._state(), self.plan, self.party.keys)
        if not body or len(body) > MAX_LOG_BYTES:
            self._recording = False
            return [Persist(HandedOver(KnownPlan.of(self.plan)) if erases else Outgrown()), *effects]
        self.log_bytes = self._state_bytes = len(body)
        record = Snapshot(stored_plan(self.plan), self._began, self._latest, form, body, erases)
        return [Persist(record), *(effect for effect in effects if not isinstance(effect, Persist))]

    def _state(self) -> dict[str, object]:
        """All attributes but what `_reopened` sets."""
        state = {name: value for name, value in vars(self).items() if name not in _SET_ANEW}
        told = [to for to, _ in self._told], list(self._told.values())
        return state | {"_taken_before": b"".join(self._taken_before), "_told": told}

    def _noted(self, effects: list[Effect]) -> list[Effect]:
        """Remember what we tell whom, once, and what we do, the oldest forgotten beyond four quotas."""
        for effect in effects:
            match effect:
                case Send():
                    self._told.setdefault(((effect.to,), key(effect.message)), effect.message)
                case Broadcast():
                    self._told.setdefault((effect.to, key(effect.message)), effect.message)
                case Persist():
                    continue
                case _:
                    self._done.append(effect)
        while len(self._told) > 4 * self._quota:
            del self._told[next(iter(self._told))]
        return effects

    def _tell_again(self, peers: Sequence[PartyId], answers: bool = False) -> list[Effect]:
        """Everything that we told these peers, in order; not more often than MAX_TOLD_AGAIN each.

        `answers`: a `Resumed`, so without ours: two who restarted would answer each other on and on."""
        eager = {peer for peer in peers if self._told_again[peer] < MAX_TOLD_AGAIN and peer != self.me}
        self._told_again.update(eager)
        effects: list[Effect] = []
        for (to, _), message in self._told.items():
            if answers and isinstance(message, Resumed):
                continue
            if again := tuple(peer for peer in to if peer in eager):
                effects.append(Broadcast(again, message))
        return effects
