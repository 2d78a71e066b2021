"""A dealer's side of sessions over vaults and live sites: what it was told a session adds up, its summand.

What is told is checked against proofs when it comes, and against our ledger and the plan when the session
begins; a session that nobody explained gets nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property

import trio

from mesh.data import asking
from mesh.data.room import DataRoom
from mesh.overlay.view import View
from mesh.runtime.vaults.allowance import Allowance
from mesh.runtime.vaults.answering import Answering
from protocols.arithmetic.field import Elements
from protocols.errors import MeshError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.sessions.plan import Plan
from protocols.vault import joint as joints
from protocols.vault.joint import PREFIX, VaultJoint
from protocols.wire.digest import digest

TOLD_S = 3.0
"""How long a session that begins waits for its explanation; both travel at the same time."""
MAX_TOLD = 64
MAX_TOLD_BY_ONE = 8


@dataclass(frozen=True)
class Judged(Plan):
    """A plan as a live site's owner judges it: the same session, in which each vault is one site."""

    of: SessionId | None = None
    company: tuple[PartyId, ...] = ()

    @cached_property
    def session(self) -> SessionId:
        """The real session's."""
        assert self.of is not None
        return self.of

    @cached_property
    def dealers(self) -> tuple[PartyId, ...]:
        """Live sites, and vaults by their ids."""
        return self.company


def judged_by_owner(message: VaultJoint, plan: Plan) -> Judged:
    """What the owner of live rows is asked: all of these sites and vaults or nothing.

    The vaults of one owner count as one site, and those of the requester not at all.
    """
    company = tuple(sorted((*message.reading.sites, *_sites_of(message))))
    job = replace(plan.job, dataset=message.dataset, min_sites=len(company))
    shown = {entry.name: getattr(plan, entry.name) for entry in fields(Plan)}
    shown |= {"job": job, "length": message.codes.width, "codes": None}
    return Judged(**shown, of=plan.session, company=company)


def _sites_of(message: VaultJoint) -> list[PartyId]:
    """One name for each owner's vaults in the sum: the vault's id if it is one."""
    owned: dict[PartyId, list[Digest]] = {}
    for vault, owner in zip(message.reading.vaults, message.reading.owners, strict=True):
        owned.setdefault(owner, []).append(vault)
    owned.pop(message.reading.requester, None)
    return [
        PartyId(bytes(one[0] if len(one) == 1 else digest("vaults", *sorted(one)))) for one in owned.values()
    ]


class Joints:
    """What sessions over vaults add up, as their requesters told this node."""

    def __init__(
        self,
        me: PartyId,
        mesh: Digest,
        answering: Answering,
        view: Callable[[], View],
        allowance: Allowance,
    ) -> None:
        self._me = me
        self._mesh = mesh
        self._answering = answering
        self._allowance = allowance
        self._view = view
        self._told: OrderedDict[str, VaultJoint] = OrderedDict()
        self._bell = trio.Event()

    async def tell(self, sender: PartyId, message: VaultJoint) -> None:
        """Keep it, if it is the sender's own, about us, and its proofs hold. Raises ProtocolError."""
        if sender != message.reading.requester:
            raise UnexpectedMessage("a sum of somebody else")
        if self._me not in message.dealers:
            raise UnexpectedMessage("a sum in which we deal nothing")
        for part in message.parts:
            vault = part.standing.vault
            if self._me in part.dealers and not await self._answering.consented(vault, message.reading):
                raise UnexpectedMessage("a sum that we did not consent to")
        self._allowance.charge(sender, joints.proofs(message))
        await trio.to_thread.run_sync(joints.check_joint, message, self._mesh)
        of_one = [name for name, told in self._told.items() if told.reading.requester == sender]
        if len(of_one) >= MAX_TOLD_BY_ONE:
            del self._told[of_one[0]]
        self._told[PREFIX + message.name.hex()] = message
        while len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)
        self._bell.set()
        self._bell = trio.Event()

    async def contribution(self, plan: Plan, room: DataRoom) -> tuple[Elements | None, str]:
        """Our vector in a session over vaults, or None and why not; `room` answers for our own rows."""
        with trio.move_on_after(TOLD_S):
            while plan.job.dataset not in self._told:
                await self._bell.wait()
        message = self._told.get(plan.job.dataset)
        if message is None:
            return None, "nobody told us what this session adds up"
        try:
            joints.check_plan(message, plan)
            own = None
            if self._me in message.reading.sites:
                own, why = await trio.to_thread.run_sync(self._own, message, plan, room)
                if own is None:
                    return None, why
            return await self._summand(message, own), ""
        except MeshError as error:
            return None, str(error.args[0])

    def _own(self, message: VaultJoint, plan: Plan, room: DataRoom) -> tuple[Elements | None, str]:
        """Our own rows, if their owner's policy allows them in this company. The use counts as opened."""
        judged = judged_by_owner(message, plan)
        decision = room.authorize(judged, self._me, self._view().name(plan.initiator))
        if not decision.allowed:
            return None, asking.public(decision)
        return room.contribution(judged)[0], ""

    async def _summand(self, message: VaultJoint, own: Elements | None) -> Elements:
        shares: dict[Digest, Elements] = {}
        for part in message.parts:
            if self._me in part.dealers:
                shares[part.standing.vault] = await self._answering.share_for(message.reading, part.standing)
        return joints.summand(message, self._me, shares, own)
