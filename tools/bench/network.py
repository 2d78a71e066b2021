"""All parties of one session in this process: signed envelopes between them, vectors piece by piece.

What is real: machines, codec, signatures, sealing, masks, digests, the spool on disk. What is not: links and
their encryption, the journal's writes, and time, which stands still while anybody works.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from nacl.signing import SigningKey

from mesh.runtime.vectors.bulk import BULK_MESSAGES
from mesh.runtime.vectors.store import VectorOffer, VectorStore, open_piece
from protocols.errors import ProtocolError
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Combine, Effect, Fingerprint, Machine, Publish, Send, Transfer
from protocols.sessions.bulk_messages import Fingerprinted, VectorsAdded, VectorStored
from protocols.sessions.messages import NETWORK_MESSAGES, PeersLost, PlanOffer
from protocols.wire import codec, envelope
from tools.bench.accounts import Accounts
from tools.bench.tree import Tree

_KINDS: dict[str, type] = {cls.KIND: cls for cls in (*NETWORK_MESSAGES, *BULK_MESSAGES)}  # type: ignore[attr-defined]  # every message class names its kind
SESSION, TRANSFER, ADDITION, AUDIT = "session", "transfer", "addition", "audit"


class Network:
    """Carries messages first in, first out, and books what each costs its sender and its receiver."""

    def __init__(self, tree: Tree, accounts: Accounts) -> None:
        self.tree = tree
        self.accounts = accounts
        self.machines: dict[PartyId, Machine] = {}
        self.stores: dict[PartyId, VectorStore] = {}
        self.gone: set[PartyId] = set()
        self.events: dict[PartyId, list[object]] = {}
        self.errors: list[ProtocolError] = []
        self.now = 0.0
        self._queue: deque[tuple[PartyId, PartyId, bytes | Digest]] = deque()
        self._signing = {party: SigningKey(keys.signing_seed) for party, keys in tree.keys.items()}

    # -- parties --------------------------------------------------------------------------------------

    def start(self, party: PartyId, machine: Machine) -> None:
        """Let a party begin, tell it who is gone, and carry everything out that follows."""
        self.machines[party] = machine
        self.events[party] = []
        self._step(party, lambda: machine.start(self.now))
        if self.gone:
            self.tell(party, PeersLost(tuple(sorted(self.gone))))

    def lose(self, parties: Sequence[PartyId]) -> None:
        """These are gone, and everybody hears of it."""
        self.gone.update(parties)
        lost = PeersLost(tuple(sorted(self.gone)))
        for party in self.machines:
            if party not in self.gone:
                self.tell(party, lost)

    def tell(self, party: PartyId, message: object) -> None:
        """A local message."""
        self._step(party, lambda: self.machines[party].receive(self.now, party, message))

    # -- messages -------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Until nothing is under way."""
        while self._queue:
            sender, to, item = self._queue.popleft()
            if isinstance(item, Digest):
                self._move(sender, to, item)
            elif to not in self.gone:
                self._hand_over(to, item)

    def settle(self) -> None:
        """Deliver, turning the clock to the next deadline whenever nothing moves, until all have ended."""
        while True:
            self.deliver()
            due = {
                party: machine.deadline
                for party, machine in self.machines.items()
                if party not in self.gone and machine.deadline is not None
            }
            if not due:
                return
            self.now = max(self.now, min(due.values()))
            for party, deadline in due.items():
                if deadline <= self.now:
                    machine = self.machines[party]
                    self._step(party, lambda machine=machine: machine.expire(self.now))  # type: ignore[misc]  # default binds

    def _step(self, party: PartyId, step: Callable[[], Sequence[Effect]]) -> None:
        effects: Sequence[Effect] = ()
        with self.accounts.charge(self.tree.roles[party], SESSION):
            try:
                effects = step()
            except ProtocolError as error:
                self.errors.append(error)
        for effect in effects:
            self._carry_out(party, effect)

    def _carry_out(self, party: PartyId, effect: Effect) -> None:
        match effect:
            case Send():
                self._post(party, (effect.to,), effect.message)
            case Broadcast():
                self._post(party, effect.to, effect.message)
            case Publish():
                self.events[party].append(effect.event)
            case Transfer():
                self._queue.extend((party, to, effect.name) for to in effect.to)
            case Combine():
                with self.accounts.charge(self.tree.roles[party], ADDITION):
                    store = self.stores[party]
                    name = store.add(effect.parts, store.begun())
                self.tell(party, VectorsAdded(effect.stage, name))
            case Fingerprint():
                with self.accounts.charge(self.tree.roles[party], AUDIT):
                    words = self.stores[party].fingerprint(effect.challenge, effect.name)
                self.tell(party, Fingerprinted(effect.challenge, effect.name, words))

    def _post(self, sender: PartyId, to: tuple[PartyId, ...], message: object) -> None:
        if isinstance(message, PlanOffer):
            return  # everybody has the plan from the start
        data = self._sign(sender, message, SESSION, len(to))
        self._queue.extend((sender, party, data) for party in to)

    def _sign(self, sender: PartyId, message: object, activity: str, copies: int = 1) -> bytes:
        plan, role = self.tree.plan, self.tree.roles[sender]
        kind: str = message.KIND  # type: ignore[attr-defined]  # every message class names its kind
        with self.accounts.charge(role, activity):
            data = envelope.sign(
                self._signing[sender],
                mesh=plan.mesh,
                session=plan.session,
                epoch=plan.epoch,
                stage=getattr(message, "stage", -1),
                kind=kind,
                body=codec.encode(message),
            )
        self.accounts.sent_bytes[role, kind] += len(data) * copies
        return data

    def _hand_over(self, to: PartyId, data: bytes) -> None:
        with self.accounts.charge(self.tree.roles[to], SESSION):
            sender, message = self._open(data)
        machine = self.machines.get(to)
        if machine is not None:
            self._step(to, lambda: machine.receive(self.now, sender, message))

    def _open(self, data: bytes) -> tuple[PartyId, object]:
        letter = envelope.verify(data, mesh=self.tree.plan.mesh)
        message: object = codec.decode(_KINDS[letter.kind], letter.body)
        return letter.sender, message

    # -- vectors --------------------------------------------------------------------------------------

    def _move(self, sender: PartyId, to: PartyId, name: Digest) -> None:
        """Offer, request and pieces, as the bulk lane does it, one piece in memory at a time."""
        if sender in self.gone or to in self.gone:
            return
        source, target = self.stores[sender], self.stores[to]
        offer = self._exchange(sender, to, lambda: source.offer(name))
        assert isinstance(offer, VectorOffer)
        with self.accounts.charge(self.tree.roles[to], TRANSFER):
            wanted = target.expect(sender, offer)
        if wanted:
            self._exchange(to, sender, lambda: target.request(name))
            for index in range(source.layout.spans):
                self._stream(sender, to, source, name, index)
        self.tell(to, VectorStored(name))

    def _stream(self, sender: PartyId, to: PartyId, source: VectorStore, name: Digest, index: int) -> None:
        """One piece read, framed, parsed and stored."""
        role = self.tree.roles[sender]
        with self.accounts.charge(role, TRANSFER):
            frame = source.piece_of(name, index).frame(self.tree.plan.session)
        self.accounts.sent_bytes[role, "vector-piece"] += len(frame)
        with self.accounts.charge(self.tree.roles[to], TRANSFER):
            _, piece = open_piece(frame)
            self.stores[to].take(sender, piece)

    def _exchange(self, sender: PartyId, to: PartyId, make: Callable[[], object]) -> object:
        """One bulk message made, signed, sent, verified and decoded."""
        with self.accounts.charge(self.tree.roles[sender], TRANSFER):
            message = make()
        data = self._sign(sender, message, TRANSFER)
        with self.accounts.charge(self.tree.roles[to], TRANSFER):
            _, arrived = self._open(data)
        return arrived
