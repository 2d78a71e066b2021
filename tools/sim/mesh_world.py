"""One simulated mesh: members join, leave, crash and come back; the machines are those of `mesh.overlay`.

The same event heap and virtual time as in `world`, with membership and epochs in place of a session. A link
between two members works while both run and nothing cuts them off; each end notices a change at a moment
of its own. The beacon sessions run over the same links (`mesh_beacons`).

Everything random comes from the scenario's seed, in the order of events: one seed, one course of events.
"""

from __future__ import annotations

import hashlib
import random
import traceback
from collections.abc import Sequence
from typing import Any, Final

from mesh.overlay import epoch_record
from mesh.overlay.agreement import BallotCast
from mesh.overlay.epoch_messages import EPOCH_MESSAGES, EpochChanged, HeadMoved, StartBeacon
from mesh.overlay.view import MemberChanged
from protocols.errors import ProtocolError
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from tools.sim.event_heap import EventHeap
from tools.sim.mesh_admission import Admission
from tools.sim.mesh_beacons import Beacons, SessionMail
from tools.sim.mesh_checkers import MESH_CHECKERS, MeshChecker
from tools.sim.mesh_liars import BY_NAME, MeshLiar
from tools.sim.mesh_node import IDENTITY, OPERATOR, Node, secrets_of
from tools.sim.mesh_scenario import STOP_S, TOTAL_S, Absence, MeshScenario

NOTICE_S: Final = (0.1, 2.5)
MAX_IDLE_TICKS: Final = 50
LOOK_S: Final = 4.0


class MeshWorld(EventHeap):
    """Runs one scenario; `violations` says what went wrong, `trace` what happened if it was asked for."""

    def __init__(self, scenario: MeshScenario, tracing: bool = False) -> None:
        super().__init__(tracing)
        self.scenario = scenario
        self.stop_s = STOP_S
        self.dice = random.Random(scenario.seed ^ 0x3E5EED)
        self.in_model = True
        self.nodes: dict[int, Node] = {}
        self.behaviours: dict[PartyId, list[MeshLiar]] = {}
        self._index: dict[PartyId, int] = {}
        self._links: set[tuple[int, int]] = set()
        self._last: dict[tuple[int, int], float] = {}
        self._timers: dict[int, float] = {}
        self._idle = 0
        self._clocks = scenario.clocks_s or (0.0,) * scenario.members
        self.beacons = Beacons(self)
        self._set_up()
        self.checkers: list[MeshChecker] = [checker(self) for checker in MESH_CHECKERS]

    def _set_up(self) -> None:
        scenario = self.scenario
        for index, name in scenario.byzantine:
            liar = BY_NAME[name](self, index, random.Random(self.dice.getrandbits(64)))
            self.behaviours.setdefault(secrets_of(index).party, []).append(liar)
        beacon = self.dice.randbytes(32)
        first = epoch_record.genesis(IDENTITY, OPERATOR, secrets_of(0).party, beacon, 1_000_000)
        self.admission = Admission(self, first)
        for index, moment in enumerate(scenario.joins_s):
            self.at(moment, self.admission.ask, index)
        for absence in scenario.absences:
            self.at(absence.at_s, self._go, absence)
            if absence.back_s >= 0:
                self.at(absence.back_s, self._return, absence)
        self.at(LOOK_S, self._look)
        for cut in scenario.cuts:
            for moment in (cut.start_s, cut.end_s):
                self.at(moment, self._rewire)

    # -- what others ask -----------------------------------------------------------------------------

    def label(self, party: PartyId) -> str:
        """Short name of a member."""
        return f"p{self._index[party]}" if party in self._index else party.short()

    def reaches(self, one: int, other: int) -> bool:
        """Whether a link between the two works now."""
        nodes = self.nodes
        if one not in nodes or other not in nodes or not (nodes[one].up and nodes[other].up):
            return False
        if (min(one, other), max(one, other)) in self.scenario.missing:
            return False
        return not any(
            cut.start_s <= self.now < cut.end_s and (one in cut.side) != (other in cut.side)
            for cut in self.scenario.cuts
        )

    def linked(self, index: int) -> set[PartyId]:
        """Whom member `index` sees links to."""
        return {self.nodes[other].party for one, other in self._links if one == index}

    def digest(self) -> str:
        """Of the trace, the heads and the number of messages: equal for equal seeds."""
        state = hashlib.blake2b(digest_size=16)
        for line in self.trace or ():
            state.update(line.encode())
        for index, node in self.nodes.items():
            state.update(f"{index} {node.up} {node.keeper.record.digest.hex()}".encode())
        state.update(str(self.messages).encode())
        return state.hexdigest()

    @property
    def ending(self) -> str:
        """Whether it stayed within what electorates bear."""
        return "mesh" if self.in_model else "mesh with too many liars for an electorate"

    @property
    def restored(self) -> int:
        """How many members came back from their journals."""
        return sum(node.lives - 1 for node in self.nodes.values())

    # -- time ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until the mesh has had its time."""
        self.play(lambda: TOTAL_S)
        if not self.violations:
            for checker in self.checkers:
                self._complain(checker, checker.end())

    def _look(self) -> None:
        for checker in self.checkers:
            self._complain(checker, checker.during())
        self.at(self.now + LOOK_S, self._look)

    def _complain(self, checker: MeshChecker, sentences: list[str]) -> None:
        for sentence in sentences:
            self.complain(f"{checker.name}: {sentence}")

    # -- members come and go -------------------------------------------------------------------------

    def admit(self, node: Node) -> None:
        """A new member begins to run."""
        self.nodes[node.index] = node
        self._index[node.party] = node.index
        node.clock_s = self._clocks[node.index]
        self._boot(node)

    def _boot(self, node: Node) -> None:
        node.boot(self.scenario.seed.to_bytes(8, "big", signed=True), self.scenario.epoch_s)
        self.note(f"p{node.index} runs, at epoch {node.keeper.record.epoch}")
        local = node.local(self.now)
        self.call(node, node.membership.start, local)
        self.call(node, node.keeper.start, local, node.membership.view(local))
        self._rewire()

    def _go(self, absence: Absence) -> None:
        node = self.nodes.get(absence.index)
        if node is None or not node.up:
            return
        if absence.polite:
            self.note(f"p{node.index} leaves")
            self.call(node, node.membership.leave, node.local(self.now))
        else:
            self.note(f"p{node.index} crashes")
            if absence.torn and len(node.journal) > node.safe:
                del node.journal[self.dice.randint(node.safe, len(node.journal)) :]
        node.up = False
        self.beacons.crashed(node)
        self._links = {link for link in self._links if link[0] != node.index}
        self._rewire()

    def _return(self, absence: Absence) -> None:
        node = self.nodes.get(absence.index)
        if node is not None and not node.up:
            node.clock_s += absence.shift_s
            self._boot(node)

    def _rewire(self) -> None:
        """Something changed: both ends of each link find out, each in its time."""
        for one in self.nodes:
            for other in self.nodes:
                if one != other and ((one, other) in self._links) != self.reaches(one, other):
                    self.at(self.now + self.dice.uniform(*NOTICE_S), self._notice, one, other)

    def _notice(self, one: int, other: int) -> None:
        node, works = self.nodes[one], self.reaches(one, other)
        if not node.up or works == ((one, other) in self._links):
            return
        local, peer = node.local(self.now), self.nodes[other].party
        self.note(f"p{one} {'has a link' if works else 'has no link'} to p{other}")
        if works:
            self._links.add((one, other))
            self.call(node, node.membership.link_up, local, peer)
            node.membership.measured(peer, 0.001 * (1 + abs(one - other)))
            self.call(node, node.keeper.link_up, peer)
        else:
            self._links.discard((one, other))
            self.call(node, node.membership.link_down, local, peer)
            self.call(node, node.keeper.tick, local, node.membership.view(local))
        self.beacons.rewired(node)

    # -- messages ------------------------------------------------------------------------------------

    def post(self, node: Node, to: PartyId, message: object) -> None:
        """Put a message on the link to `to`, if there is one."""
        other, chance = self._index.get(to), self.dice.random
        if other is None or not self.reaches(node.index, other):
            return
        self.messages += 1
        faulty = self.now < self.stop_s
        copies = 1 + (faulty and chance() < self.scenario.duplicate)
        copies -= faulty and chance() < self.scenario.loss
        for _ in range(copies):
            moment = self.now + self.dice.uniform(*self.scenario.latency_s)
            if self.scenario.in_order:
                moment = max(moment, self._last.get((node.index, other), 0.0) + 1e-6)
                self._last[node.index, other] = moment
            self.at(moment, self._deliver, node.index, other, message)

    def _deliver(self, sender: int, to: int, message: Any) -> None:
        if not self.reaches(sender, to) or (to, sender) not in self._links:
            return
        node, source = self.nodes[to], self.nodes[sender].party
        if self.trace is not None:
            self.note(f"p{sender} -> p{to}  {type(message).KIND}")
        for liar in self.behaviours.get(node.party, ()):
            liar.hear(source, message)
        local = node.local(self.now)
        if isinstance(message, SessionMail):
            self.beacons.deliver(node, source, message)
        elif isinstance(message, EPOCH_MESSAGES):
            view = node.membership.view(local)
            self.call(node, node.keeper.receive, local, view, source, message, sender=source)
        else:
            self.call(node, node.membership.receive, local, source, message, sender=source)
            self.call(node, node.keeper.tick, local, node.membership.view(local))

    # -- machines ------------------------------------------------------------------------------------

    def _tick(self, index: int, moment: float) -> None:
        node = self.nodes[index]
        if not node.up or self._timers.get(index) != moment:
            return
        del self._timers[index]
        local = max(node.local(self.now), min(node.membership.deadline, node.keeper.deadline))
        self.call(node, node.membership.tick, local)
        self.call(node, node.keeper.tick, local, node.membership.view(local))
        self._idle = self._idle + 1 if node.deadline <= self.now else 0
        if self._idle > MAX_IDLE_TICKS:
            self.violations.append(f"spins: p{index} wants to look again at once, always")

    def call(self, node: Node, step: Any, *arguments: Any, sender: PartyId | None = None) -> None:
        """One step of a member's overlay machine, and its effects."""
        effects: Sequence[Effect] = ()
        try:
            effects = step(*arguments)
        except ProtocolError as error:
            self.note(f"p{node.index} refuses: {error}")
            if node.party not in self.behaviours and sender is not None:
                for checker in self.checkers:
                    self._complain(checker, checker.refused(sender, node, error))
        except Exception as error:
            if node.party not in self.behaviours:
                where = traceback.extract_tb(error.__traceback__)[-1]
                spot = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
                self.violations.append(f"raised: p{node.index} {error!r} at {spot}")
        for effect in effects:
            self.carry(node, effect)
        if node.up:
            due = max(self.now, node.deadline)
            if self._timers.get(node.index) != due:
                self._timers[node.index] = due
                self.at(due, self._tick, node.index, due)

    def carry(self, node: Node, effect: Effect) -> None:
        """An effect of one of the member's machines."""
        if isinstance(effect, Persist):
            self._store(node, effect.record)
            return
        if isinstance(effect, Publish):
            self._publish(node, effect.event)
            return
        node.safe = len(node.journal)
        receivers: tuple[PartyId, ...] = (effect.to,) if isinstance(effect, Send) else ()
        receivers = effect.to if isinstance(effect, Broadcast) else receivers
        for to in receivers:
            message: Any = effect.message  # type: ignore[union-attr]  # only these two have receivers
            liars = self.behaviours.get(node.party, ())
            for liar in liars:
                message = liar.send(to, message) if message is not None else None
            if not liars:
                for checker in self.checkers:
                    self._complain(checker, checker.said(node, message))
            if message is not None:
                self.post(node, to, message)

    def _store(self, node: Node, record: object) -> None:
        """As the daemon's journal: the heads, and the ballots since the last one."""
        if isinstance(record, HeadMoved):
            node.journal = [*(one for one in node.journal if isinstance(one, HeadMoved)), record]
            node.safe = len(node.journal)
        elif isinstance(record, BallotCast):
            node.journal.append(record)

    def _publish(self, node: Node, event: object) -> None:
        if isinstance(event, EpochChanged):
            self.note(f"p{node.index} enters epoch {event.record.epoch} of {len(event.record.gateways)}")
            if node.party not in self.behaviours:
                for checker in self.checkers:
                    self._complain(checker, checker.moved(node, event.record))
        elif isinstance(event, MemberChanged):
            self.note(f"p{node.index} sees {event.name} {event.after.value}: {event.why}")
        elif isinstance(event, StartBeacon):
            self.beacons.plan(node, event)
