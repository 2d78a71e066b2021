"""One simulated vault: deposited, read, renewed, handed over, erased, under crashes, cuts and liars.

The same virtual time as in `world`. Holders are `vault_node`, owner and readers `vault_clients`; they share
the pure machines of `protocols.vault` with the daemon. A link works while both ends run and nothing cuts them
off; now and then one breaks (`loss`) and comes back. Who is down for GIVE_UP_S is given up.

Everything random comes from the scenario's seed, in the order of events: one seed, one course of events.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import traceback
from collections.abc import Callable
from typing import Any, Final

from protocols.arithmetic.xof import Xof
from protocols.errors import MalformedMessage, ProtocolError
from protocols.identifiers import Digest, PartyId
from protocols.sessions.plan import Query, Seat
from protocols.vault.gathering import Liar
from protocols.vault.reading import Reader, ReadingFailed, ReadingOpened
from protocols.vault.standing import Standing
from protocols.vault.terms import Consent, Terms, sign_terms
from tools.sim.event_heap import EventHeap
from tools.sim.mesh_plan import keys_of
from tools.sim.vault_checkers import VaultChecker
from tools.sim.vault_clients import Inquiry, Owner
from tools.sim.vault_liars import BY_NAME, VaultLiar
from tools.sim.vault_node import Crashed, VaultNode
from tools.sim.vault_scenario import FIRST_HOLDER, STOP_S, TOTAL_S, Outage, VaultScenario

MESH: Final = Digest(b"simulated vaults".ljust(32, b"."))
SLOTS: Final = (Query("variance", "bmi", ()), Query("count", "*", ()))
ALLOWED: Final = ("count", "sum", "mean")
LOOK_S: Final = 1.0
GIVE_UP_S: Final = 8.0
NOTICE_S: Final = (0.1, 0.6)


class VaultWorld(EventHeap):
    """Runs one scenario; `violations` says what went wrong, `trace` what happened if it was asked for."""

    mesh = MESH

    def __init__(self, scenario: VaultScenario, tracing: bool = False) -> None:
        super().__init__(tracing)
        self.scenario = scenario
        self.dice = random.Random(scenario.seed ^ 0x7A0175EED)
        self.restored = 0
        count = scenario.parties
        self._index = {keys_of(index).party: index for index in range(count)}
        self._down: set[int] = set()
        self._down_since: dict[int, float] = {}
        self._links: dict[int, set[int]] = {index: set() for index in range(count)}
        self._flooded = any(name == "far-views" for _, name in scenario.byzantine)
        self._last: dict[tuple[PartyId, PartyId], float] = {}
        keys = [keys_of(index) for index in range(count)]
        n, t = scenario.size
        seats = tuple(Seat(key.party, key.sealing_key) for key in keys[FIRST_HOLDER : FIRST_HOLDER + n])
        rules = Consent(ALLOWED, ("any-member",), scenario.min_sites, scenario.max_uses, 0)
        nonce = scenario.seed.to_bytes(32, "big")
        terms = Terms(MESH, keys[0].party, "vault", nonce, 0, SLOTS, seats, t, rules)
        self.signed = sign_terms(keys[0].signing_seed, terms)
        self.vault = terms.vault
        self.vector = Xof(b"deposit".ljust(32, b"."), "values").elements(terms.length)
        self.nodes = {index: VaultNode(self, index) for index in range(FIRST_HOLDER, count)}
        self.liars: dict[int, list[VaultLiar]] = {}
        for index, name in scenario.byzantine:
            bent = BY_NAME[name](self.nodes[index], random.Random(self.dice.getrandbits(64)))
            self.liars.setdefault(index, []).append(bent)
        self.owner = Owner(self, self.signed, self.vector)
        self.inquiries = [Inquiry(self, asks) for asks in scenario.asks]
        self.checker = VaultChecker(self)
        self._set_up()

    def _set_up(self) -> None:
        for outage in self.scenario.outages:
            self.at(outage.at_s, self._strike, outage)
            if outage.back_s >= 0:
                self.at(outage.back_s, self._come_back, outage.index)
        for cut in self.scenario.cuts:
            for moment in (cut.start_s, cut.end_s):
                self.at(moment, self._rewire)
        for one in self._links:
            self._links[one] = {other for other in self._links if other != one}
        for node in self.nodes.values():
            self.at(self.dice.uniform(0.0, LOOK_S), self._look, node)

    # -- what nodes, clients and checkers ask --------------------------------------------------------

    def label(self, party: PartyId) -> str:
        """Short name of a party."""
        return f"p{self._index[party]}" if party in self._index else party.short()

    def sealing_key(self, party: PartyId) -> bytes:
        """Where to seal for a party, as its certificate says."""
        return keys_of(self._index[party]).sealing_key

    def is_up(self, party: PartyId) -> bool:
        """Whether it runs."""
        return self._index[party] not in self._down

    def linked_to(self, party: PartyId) -> set[PartyId]:
        """Whom `party` sees links to."""
        return {keys_of(other).party for other in self._links[self._index[party]]}

    def linked(self, node: VaultNode) -> set[PartyId]:
        """Whom `node` sees links to."""
        return self.linked_to(node.party)

    def is_given_up(self, party: PartyId) -> bool:
        """Whether the mesh counts on it no more."""
        since = self._down_since.get(self._index[party])
        return since is not None and self.now > since + GIVE_UP_S

    def fit(self) -> list[PartyId]:
        """Who may become a holder now."""
        return [node.party for node in self.nodes.values() if not self.is_given_up(node.party)]

    def newest(self, party: PartyId | None) -> Standing | None:
        """The newest standing that anybody who answers `party` (None: anybody who runs) can show."""
        reached = self.linked_to(party) if party is not None else {node.party for node in self.nodes.values()}
        shown = [
            node.disk.standing for node in self.nodes.values()
            if node.up and node.party in reached and node.disk.standing is not None
        ]  # fmt: skip
        return max(shown, key=lambda standing: standing.generation, default=None)

    def digest(self) -> str:
        """Of the trace, the holders' disks and the number of messages: equal for equal seeds."""
        lines = [*(self.trace or ()), str(self.messages)]
        for node in self.nodes.values():
            standing, ended = node.disk.standing, node.disk.ended
            lines.append(f"{node.index} {standing.generation if standing else -1} {ended}")
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()

    @property
    def ending(self) -> str:
        """What became of the vault."""
        if any(node.disk.ended for node in self.nodes.values()):
            return "erased" if self.owner.ordered_s >= 0 else "refused"
        standing = self.newest(None)
        return "never certified" if standing is None else "held" if standing.generation else "never renewed"

    # -- time ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until the vault has had its time."""
        self.play(lambda: TOTAL_S)
        if not self.violations:
            self.checker.end()

    def _look(self, node: VaultNode) -> None:
        self.at(self.now + LOOK_S, self._look, node)
        if node.up:
            self.step(node, node.look)
            if self._flooded and node.renewals.machine is not None:
                self.checker.weighed(node)

    # -- who is there --------------------------------------------------------------------------------

    def _strike(self, outage: Outage) -> None:
        node = self.nodes.get(outage.index)
        if outage.index in self._down:
            return
        if node is not None and outage.in_step:
            node.budget = self.dice.randint(0, 6)
        else:
            self._crash(outage.index)

    def _crash(self, index: int) -> None:
        self.note(f"p{index} crashes")
        self._down.add(index)
        self._down_since[index] = self.now
        self._links[index] = set()
        node = self.nodes.get(index)
        if node is None:
            self.owner.crash()
        else:
            node.up, node.budget = False, None
            if node.undo and self.dice.random() < 0.5:
                node.disk = node.undo[self.dice.randrange(len(node.undo))]
                self.note(f"p{index} loses what it stored last")
            node.undo.clear()
        self._rewire()

    def _come_back(self, index: int) -> None:
        node = self.nodes.get(index)
        if index not in self._down:
            if node is not None:
                node.budget = None
            return
        self.note(f"p{index} is back")
        self._down.discard(index)
        self._down_since.pop(index, None)
        self.restored += 1
        if node is not None:
            self.step(node, node.boot)
        self._rewire()

    def _reaches(self, one: int, other: int) -> bool:
        if one in self._down or other in self._down:
            return False
        cuts = (cut for cut in self.scenario.cuts if cut.start_s <= self.now < cut.end_s)
        return not any((one in cut.side) != (other in cut.side) for cut in cuts)

    def _rewire(self) -> None:
        for one in self._links:
            for other in self._links:
                if one != other and (other in self._links[one]) != self._reaches(one, other):
                    self.at(self.now + self.dice.uniform(*NOTICE_S), self._notice, one, other)

    def _notice(self, one: int, other: int) -> None:
        works = self._reaches(one, other)
        if one in self._down or works == (other in self._links[one]):
            return
        (self._links[one].add if works else self._links[one].discard)(other)
        if works and one in self.nodes:
            self.step(self.nodes[one], self.nodes[one].linked, keys_of(other).party)

    # -- messages ------------------------------------------------------------------------------------

    def said(self, node: VaultNode, to: tuple[PartyId, ...], message: Any) -> None:
        """A holder says something."""
        self.checker.said(node, message)
        for party in to:
            bent = message
            for liar in self.liars.get(node.index, ()):
                bent = liar.send(party, bent) if bent is not None else None
            if bent is not None:
                self.send(node.party, party, bent)

    def send(self, sender: PartyId, to: PartyId, message: Any) -> None:
        """Put a message on its way."""
        one, other = self._index[sender], self._index.get(to)
        if other is None or one == other:
            return
        self.messages += 1
        faulty = self.now < STOP_S
        if faulty and self.dice.random() < self.scenario.loss:
            self._break(one, other)
            return
        for _ in range(1 + (faulty and self.dice.random() < self.scenario.duplicate)):
            moment = self.now + self.dice.uniform(*self.scenario.latency_s)
            if self.scenario.in_order:
                moment = max(moment, self._last.get((sender, to), 0.0) + 1e-6)
                self._last[sender, to] = moment
            self.at(moment, self._deliver, sender, to, message)

    def _break(self, one: int, other: int) -> None:
        """A connection breaks with what is on it, and is there again soon: both ends notice."""
        self.note(f"p{one} -> p{other}  a connection breaks")
        for end, peer in ((one, other), (other, one)):
            self._links[end].discard(peer)
            self.at(self.now + self.dice.uniform(*NOTICE_S), self._notice, end, peer)

    def _deliver(self, sender: PartyId, to: PartyId, message: Any) -> None:
        one, other = self._index[sender], self._index[to]
        if not self._reaches(one, other):
            return
        if self.trace is not None:
            self.note(f"p{one} -> p{other}  {type(message).KIND}")
        node = self.nodes.get(other)
        if node is not None:
            heard = [liar.hear(sender, message) for liar in self.liars.get(other, ())]
            if not any(heard):
                self.step(node, node.receive, sender, message)
        elif other == 0:
            with contextlib.suppress(ProtocolError):
                self.owner.receive(sender, message)
        else:
            any(inquiry.receive(sender, message) for inquiry in self.inquiries if inquiry.asks.index == other)

    # -- steps ---------------------------------------------------------------------------------------

    def step(self, node: VaultNode, call: Callable[..., None], *arguments: Any) -> None:
        """One step of a holder, which may crash in the middle of it."""
        try:
            with contextlib.ExitStack() as bends:
                for liar in self.liars.get(node.index, ()):
                    bends.enter_context(liar.crooked())
                call(*arguments)
        except Crashed:
            self._crash(node.index)
        except ProtocolError as error:
            self.refused(node, error)
        except Exception as error:
            if node.index not in self.liars:
                where = traceback.extract_tb(error.__traceback__)[-1]
                spot = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
                self.complain(f"raised: p{node.index} {error!r} at {spot}")
        if node.up and node.budget == 0:
            self._crash(node.index)

    def refused(self, node: VaultNode, error: ProtocolError) -> None:
        """A holder refused a message."""
        self.note(f"p{node.index} refuses: {error}")
        if node.index not in self.liars:
            self.blames(error)

    def blames(self, error: ProtocolError) -> None:
        """Somebody honest refused a message, and may say whose fault it is."""
        blamed = getattr(error, "blame", None) if isinstance(error, MalformedMessage) else None
        index = self._index.get(blamed, -1) if blamed is not None else -1
        bad_owner = index == 0 and self.scenario.crooked_owner
        if index >= 0 and index not in self.liars and not bad_owner:
            self.complain(f"blameless: p{index} was blamed: {error}")

    def named(self, node: VaultNode, liar: Liar) -> None:
        """A holder's renewal names a party."""
        self.note(f"p{node.index} names {self.label(liar.party)}: {liar.fault}")
        if node.index not in self.liars and self._index[liar.party] not in self.liars:
            self.complain(f"blameless: {self.label(liar.party)} was named: {liar.fault}")

    def adopted(self, node: VaultNode, standing: Standing) -> None:
        """A holder takes a standing for the newest."""
        self.note(f"p{node.index} knows generation {standing.generation}")
        self.checker.adopted(node, standing)

    def answered(self, inquiry: Inquiry, machine: Reader, outcome: ReadingOpened) -> None:
        """A reader has what it asked for."""
        self.note(f"p{inquiry.asks.index} has its answer in generation {machine.standing.generation}")
        self.checker.answered(inquiry, machine.standing.generation, outcome)

    def failed(self, inquiry: Inquiry, outcome: ReadingFailed) -> None:
        """A reader got no answer and asks no more."""
        self.checker.failed(inquiry, outcome)
