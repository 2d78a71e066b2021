"""A dealer's side of sessions over several vaults: what it was told a session adds up, and its summand.

What is told is checked against proofs when it comes, and against our ledger and the plan when the session
begins; a session that nobody explained gets nothing.
"""

from __future__ import annotations

from collections import OrderedDict

import trio

from mesh.runtime.vault_holder import Holder
from protocols.arithmetic.field import Elements
from protocols.errors import MeshError
from protocols.identifiers import Digest, PartyId
from protocols.sessions.plan import Plan
from protocols.vault import joint as joints
from protocols.vault.joint import PREFIX, VaultJoint

TOLD_S = 3.0
"""How long a session that begins waits for its explanation; both travel at the same time."""
MAX_TOLD = 64


class Joints:
    """What sessions over vaults add up, as their requesters told this node."""

    def __init__(self, me: PartyId, mesh: Digest, holder: Holder) -> None:
        self._me = me
        self._mesh = mesh
        self._holder = holder
        self._told: OrderedDict[str, VaultJoint] = OrderedDict()
        self._bell = trio.Event()

    async def tell(self, message: VaultJoint) -> None:
        """Keep it, if its proofs hold. Raises MalformedMessage."""
        await trio.to_thread.run_sync(joints.check_joint, message, self._mesh)
        self._told[PREFIX + message.name.hex()] = message
        while len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)
        self._bell.set()
        self._bell = trio.Event()

    async def contribution(self, plan: Plan) -> tuple[Elements | None, str]:
        """Our vector in a session over vaults, or None and why not."""
        with trio.move_on_after(TOLD_S):
            while plan.job.dataset not in self._told:
                await self._bell.wait()
        message = self._told.get(plan.job.dataset)
        if message is None:
            return None, "nobody told us what this session adds up"
        try:
            joints.check_plan(message, plan)
            return await self._summand(message), ""
        except MeshError as error:
            return None, str(error.args[0])

    async def _summand(self, message: VaultJoint) -> Elements:
        shares: dict[Digest, Elements] = {}
        for part in message.parts:
            if self._me in part.dealers:
                shares[part.standing.vault] = await self._holder.share_for(message.reading, part.standing)
        return joints.summand(message, self._me, shares)
