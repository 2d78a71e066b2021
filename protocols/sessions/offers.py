"""Messages of plans that go out by role: the excerpt, the whole plan for who asks, and who was counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from protocols.sessions.excerpt import Excerpt
from protocols.sessions.plan import MAX_STAGES
from protocols.wire.bounds import Between


@dataclass(frozen=True, slots=True)
class ExcerptOffer:
    """Initiator to a party: this is the session, as far as it concerns you."""

    KIND: ClassVar[str] = "plan-excerpt"
    excerpt: Excerpt


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """To the initiator, by who has an excerpt: show me the whole plan."""

    KIND: ClassVar[str] = "plan-request"


@dataclass(frozen=True, slots=True)
class RosterRequest:
    """To the members of a stage: show me the rosters from under the root down to yours (see `counting`)."""

    KIND: ClassVar[str] = "roster-request"
    stage: Annotated[int, Between(0, MAX_STAGES)]
    attempt: Annotated[int, Between(0, 16)]


OFFERS_NETWORK: tuple[type, ...] = (ExcerptOffer, PlanRequest, RosterRequest)
