"""Joining a simulated mesh: a ticket of the founder, a request, a grant, as a node's gatekeeper does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.overlay import certificate as certificates
from mesh.overlay import joining
from mesh.overlay.certificate import Certificate
from mesh.overlay.epoch_record import Certified
from mesh.overlay.joining import TicketBook
from mesh.overlay.ticket import Ticket
from tools.sim.mesh_node import IDENTITY, OPERATOR, START_S, Node, secrets_of

if TYPE_CHECKING:
    from tools.sim.mesh_world import MeshWorld

ASK_AGAIN_S: Final = 3.0
VALID_S: Final = 30 * 24 * 3600


class Admission:
    """The founder's ticket book. A joiner asks again until the founder is there to answer."""

    def __init__(self, world: MeshWorld, first: Certified) -> None:
        self.world = world
        self.first = first
        founder = Certificate(
            IDENTITY.mesh,
            secrets_of(0).party,
            "p0",
            "ward",
            secrets_of(0).sealing_key,
            secrets_of(0).vrf_key,
            gateway=True,
            weight=1,
            serial=0,
            issued_s=int(START_S) - 60,
            expires_s=int(START_S) + VALID_S,
        )
        self.founder = certificates.issue(OPERATOR, founder)
        self.book = TicketBook(OPERATOR, founder=founder)

    def ask(self, index: int) -> None:
        """Member `index` wants to join."""
        world = self.world
        if index == 0:
            world.admit(Node(0, self.founder, self.first))
            return
        inviter = world.nodes.get(0)
        cut = any(
            c.start_s <= world.now < c.end_s and (0 in c.side) != (index in c.side)
            for c in world.scenario.cuts
        )
        if inviter is None or not inviter.up or cut:
            world.at(world.now + ASK_AGAIN_S, self.ask, index)
            return
        local, secrets = inviter.local(world.now), secrets_of(index)
        ticket = Ticket(
            id=world.dice.randbytes(16),
            operator=IDENTITY.operator,
            inviter=inviter.party,
            addresses=(),
            issued_s=int(local),
            expires_s=int(local) + 600,
            network_key=bytes(32),
            secret=world.dice.randbytes(16),
        )
        self.book.issue(local, ticket)
        applicant = secrets.applicant(index, index not in world.scenario.plain)
        request = joining.request(ticket, applicant, secrets.identity)
        refusal = self.book.judge(local, request)
        if refusal is not None:
            world.violations.append(f"joins: p{index} was refused: {refusal.reason}")
            return
        granted, _ = self.book.accept(local, request)
        head = inviter.keeper.record
        world.admit(Node(index, granted, inviter.keeper.certified(head.epoch) or head))
