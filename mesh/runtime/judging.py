"""A plan is judged by our view of the mesh; others may have heard sooner than we who came or went.

Of a plan by role we judge our part. If it is refused, the whole is asked for, once, and judged: that says of
everybody whether the initiator saw it, which decides who is in our cluster.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from mesh.runtime.postman import Postman
from protocols.errors import Refused
from protocols.identifiers import PartyId, SessionId
from protocols.sessions.excerpt import PartialPlan, read
from protocols.sessions.messages import PlanOffer
from protocols.sessions.offers import ExcerptOffer, PlanRequest
from protocols.sessions.plan import Plan

LOOKS = 4
LOOK_AGAIN_S = 0.25
OFFERS = (PlanOffer, ExcerptOffer)
SHOW_S = 8.0
"""How long we wait to be shown a whole plan: less than its dealers are waited for."""


async def patiently(judge: Callable[[], None]) -> None:
    """What our view refuses is looked at again, LOOKS times in all. Raises what the last look raises; what
    is no matter of views, as the end of a plan's epoch, at once.
    """
    for _ in range(LOOKS - 1):
        try:
            judge()
        except Refused:
            await trio.sleep(LOOK_AGAIN_S)
        else:
            return
    judge()


def offered(offer: PlanOffer | ExcerptOffer, me: PartyId) -> Plan:
    """The plan, as far as we are told. Raises MalformedMessage for an excerpt that does not hold together."""
    return offer.plan if isinstance(offer, PlanOffer) else read(offer.excerpt, me)


class WholePlans:
    """Asks initiators for the plans that we have a part of."""

    def __init__(self, postman: Postman) -> None:
        self._postman = postman
        self._asked: dict[SessionId, tuple[trio.Event, list[Plan]]] = {}

    def take(self, plan: Plan) -> bool:
        """Whether somebody here waits for it. Its session's id says that it is the one we know in part."""
        event, shown = self._asked.get(plan.session, (None, []))
        if event is None or isinstance(plan, PartialPlan):
            return False
        shown.append(plan)
        event.set()
        return True

    async def judged(self, plan: Plan, judge: Callable[[Plan], None]) -> Plan:
        """The plan, the whole one if it takes that, once `judge` has nothing against it.

        Raises what `judge` raises.
        """
        try:
            await patiently(lambda: judge(plan))
        except Refused:
            if not isinstance(plan, PartialPlan):
                raise
            whole = await self._obtain(plan)
            if whole is None:
                raise
            await patiently(lambda: judge(whole))
            return whole
        return plan

    async def _obtain(self, plan: Plan) -> Plan | None:
        event, shown = self._asked[plan.session] = (trio.Event(), [])
        try:
            self._postman.post((plan.initiator,), PlanRequest(), session=plan.session, epoch=plan.epoch)
            with trio.move_on_after(min(SHOW_S, plan.collect_ms / 2000)):
                await event.wait()
        finally:
            del self._asked[plan.session]
        return shown[0] if shown else None
