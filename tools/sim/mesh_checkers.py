"""What must hold in every simulated mesh, checked apart from whatever drives it.

    one chain       no two honest members accept different records for one height
    one voice       no honest member votes twice in one round, over all its lives
    blameless       nothing that an honest member says is refused as malformed
    converges       once faults stop, honest members see who is there and who is not, and follow one head
    goes on         where epochs are short and everybody is there, they still end in time
    bounded memory  a member keeps a bounded number of things

The first and the fourth hold while no electorate has more liars than it outvotes: `in_model`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.overlay.agreement import Ballot
from mesh.overlay.epoch_record import HISTORY, MIN_SESSION_GATEWAYS, EpochRecord, faults, quorum
from mesh.overlay.view import Status
from protocols.errors import MalformedMessage, ProtocolError
from protocols.identifiers import PartyId
from tools.sim.checkers import weigh
from tools.sim.mesh_node import secrets_of

if TYPE_CHECKING:
    from tools.sim.mesh_node import Node
    from tools.sim.mesh_world import MeshWorld

ROTATING_S: Final = 600.0
PATIENCE_S: Final = 30.0
"""How long two rounds may take beyond the time of an epoch, over slow links."""
MAX_ITEMS: Final = 2500
"""Things one member of a mesh of seven may keep, with ballots for the rounds that count; beside the chain,
of which it keeps HISTORY records."""


class MeshChecker:
    """Sees what happens; answers with sentences."""

    name = "checker"

    def __init__(self, world: MeshWorld) -> None:
        self.world = world

    def moved(self, node: Node, record: EpochRecord) -> list[str]:
        """An honest member took `record` for its head."""
        del node, record
        return []

    def said(self, node: Node, message: object) -> list[str]:
        """An honest member says something."""
        del node, message
        return []

    def refused(self, sender: PartyId, node: Node, error: ProtocolError) -> list[str]:
        """An honest member refused a message."""
        del sender, node, error
        return []

    def during(self) -> list[str]:
        """Every few seconds."""
        return []

    def end(self) -> list[str]:
        """The simulation is over."""
        return []

    def honest(self) -> list[Node]:
        """Honest members that run."""
        nodes = self.world.nodes.values()
        return [node for node in nodes if node.up and node.party not in self.world.behaviours]


class OneChain(MeshChecker):
    """At each height one record."""

    name = "one chain"

    def __init__(self, world: MeshWorld) -> None:
        super().__init__(world)
        self.records: dict[int, EpochRecord] = {}

    def moved(self, node: Node, record: EpochRecord) -> list[str]:
        first = self.records.setdefault(record.epoch, record)
        liars = sum(party in self.world.behaviours for party in record.gateways)
        if len(record.gateways) >= MIN_SESSION_GATEWAYS and liars > faults(len(record.gateways)):
            self.world.in_model = False
        if first == record or not self.world.in_model:
            return []
        return [f"p{node.index} follows another record {record.epoch} than others"]


class OneVoice(MeshChecker):
    """One prevote and one precommit a round."""

    name = "one voice"

    def __init__(self, world: MeshWorld) -> None:
        super().__init__(world)
        self.cast: dict[tuple[int, int, int, bool], object] = {}

    def said(self, node: Node, message: object) -> list[str]:
        if not isinstance(message, Ballot) or message.vote.party != node.party:
            return []
        place = (node.index, message.epoch, message.round, message.final)
        return [] if self.cast.setdefault(place, message.record) == message.record else [
            f"p{node.index} votes twice in round {message.round} of epoch {message.epoch}"
        ]  # fmt: skip


class Blameless(MeshChecker):
    """What an honest member says is well formed."""

    name = "blameless"

    def refused(self, sender: PartyId, node: Node, error: ProtocolError) -> list[str]:
        if sender in self.world.behaviours or not isinstance(error, MalformedMessage):
            return []
        return [f"p{node.index} blames {self.world.label(sender)}: {error}"]


class Converges(MeshChecker):
    """Equal pictures and one head at the end."""

    name = "converges"

    def end(self) -> list[str]:
        return [sentence for group in self._groups() for sentence in self._judge(group)]

    def _groups(self) -> list[list[Node]]:
        """Members that run, by who hangs together through links."""
        rest = {node.index: node for node in self.world.nodes.values() if node.up}
        groups = []
        while rest:
            group, edge = [], [rest.pop(min(rest))]
            while edge:
                node = edge.pop()
                group.append(node)
                near = [index for index in rest if self.world.reaches(node.index, index)]
                edge += [rest.pop(index) for index in near]
            groups.append(sorted(group, key=lambda node: node.index))
        return groups

    def _judge(self, group: list[Node]) -> list[str]:
        honest = [node for node in group if node.party not in self.world.behaviours]
        there = {node.party for node in honest}
        gone = {node.party for node in self.world.nodes.values() if not node.up}
        wrong: list[str] = []
        for node in honest:
            known = node.membership._entries.items()
            seen = {party for party, entry in known if entry.status is Status.ALIVE}
            if not there <= seen or seen & gone:
                missing = sorted(self.world.label(party) for party in there - seen)
                ghosts = sorted(self.world.label(party) for party in seen & gone)
                wrong.append(f"p{node.index} does not see {missing}, still sees {ghosts}")
        if not self.world.in_model:
            return wrong
        heads = sorted({node.keeper.record.epoch for node in honest})
        rotating = self.world.scenario.epoch_s < ROTATING_S
        if heads and heads[-1] - heads[0] > (1 if rotating else 0):
            wrong.append(f"heads at heights {heads}")
        if honest and not rotating and not self.world.behaviours:
            wrong += self._electorate(honest)
        return wrong

    def _electorate(self, honest: list[Node]) -> list[str]:
        """The last record names who is there, unless too few of its electorate are left to go on.

        Ballots are not relayed: two gateways without a link of their own may keep agreement from coming
        about when every vote is needed, so such meshes are not asked.
        """
        head = max((node.keeper.record for node in honest), key=lambda record: record.epoch)
        left = [node for node in honest if node.party in head.gateways]
        enough = quorum(len(head.gateways)) if len(head.gateways) >= MIN_SESSION_GATEWAYS else 1
        operator = any(node.index == 0 for node in honest)
        alone = len(head.gateways) < MIN_SESSION_GATEWAYS or len(left) < MIN_SESSION_GATEWAYS
        if len(left) < enough or (alone and not operator):
            return []
        gateways = {node.party for node in honest if node.certificate.certificate.gateway}
        unlinked = [
            (one, other) for one, other in self.world.scenario.missing
            if {secrets_of(one).party, secrets_of(other).party} <= gateways
        ]  # fmt: skip
        if unlinked:
            return []
        if gateways and set(head.gateways) != gateways:
            here = sorted(self.world.label(party) for party in gateways)
            there = sorted(self.world.label(party) for party in head.gateways)
            return [f"the electorate is {there}, gateways alive are {here}"]
        return []


class GoesOn(MeshChecker):
    """Epochs still end when their time is over, whatever was begun and left in between."""

    name = "goes on"

    def __init__(self, world: MeshWorld) -> None:
        super().__init__(world)
        self._newest: tuple[int, float] = (0, 0.0)

    def moved(self, node: Node, record: EpochRecord) -> list[str]:
        """An honest member took `record` for its head."""
        del node
        if record.epoch > self._newest[0]:
            self._newest = (record.epoch, self.world.now)
        return []

    def end(self) -> list[str]:
        scenario = self.world.scenario
        honest = self.honest()
        quiet = scenario.epoch_s < ROTATING_S and self.world.in_model and not self.world.behaviours
        if not quiet or scenario.missing or len(honest) < scenario.members:
            return []
        waited = self.world.now - self._newest[1]
        if waited <= scenario.epoch_s + PATIENCE_S:
            return []
        return [f"no epoch ended for {waited:.0f} s, each should after {scenario.epoch_s:.0f}"]


class BoundedMemory(MeshChecker):
    """No member keeps more things than a small mesh can have."""

    name = "bounded memory"

    def during(self) -> list[str]:
        flooded = any(name == "far-rounds" for _, name in self.world.scenario.byzantine)
        return self.end() if flooded else []

    def end(self) -> list[str]:
        wrong = []
        for node in self.honest():
            chain = node.keeper._history
            if len(chain) > HISTORY:
                wrong.append(f"p{node.index} keeps {len(chain)} records of the chain")
            items = weigh(node.membership) + weigh(node.keeper) - weigh(chain)
            if items > MAX_ITEMS:
                wrong.append(f"p{node.index} keeps {items} things")
        return wrong


class SessionsEnd(MeshChecker):
    """Beacon sessions end in time; `mesh_beacons` judges the rest of them as it happens."""

    name = "ends"

    def end(self) -> list[str]:
        return self.world.beacons.judge_ends()


MESH_CHECKERS: tuple[type[MeshChecker], ...] = (
    OneChain,
    OneVoice,
    Blameless,
    Converges,
    GoesOn,
    BoundedMemory,
    SessionsEnd,
)
