"""What only the root does with its sum: open it and hand on the result, once its committee is refilled.

Who hands over to whom is for `handing`, the chain of generations for `succession`. A member with a share of
the sum opens at once if nobody is lost; with a seat vacant and a substitute at hand it waits HANDOVER_WAIT_S
for the handover, then opens with whom there is. Whoever sees another member open in its generation joins in:
the handover has become pointless. If a handover is certified all the same, the next generation opens too: it
is the same total, agreed to be known.

Who was away may have been replaced. If it showed its old share alone, no ballots of the others could ever
make an abort certain again (`aborting`), and nothing would be opened by it. So a member is the first to
open only if it reaches a quorum, itself included, as fewer have not the 2t + 1 shares either; and if it has
reached n - q others without a break for RETELL_S. The votes of a quorum that replace it need one of these,
who did not lose it; and who is back is told of all within that time. A node that was restarted has lost
everybody (`durable`), however much time it has left; one that began late knows nobody for longer than the
session: who did not vote for the roster counts from then. Whoever sees another open joins in at once.

Symbols: n seats, q quorum, t threshold.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.errors import ProtocolError, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Effect
from protocols.sessions.assembly import Assembly
from protocols.sessions.collecting import Member
from protocols.sessions.handing import Handovers
from protocols.sessions.handover import HANDOVER_WAIT_S, replay, successor_seats
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import (
    Certificate,
    HandoverCertificate,
    OpeningShare,
    Result,
    ResultVote,
)
from protocols.sessions.opening import Opening
from protocols.sessions.plan import Plan
from protocols.sessions.succession import Succession

HOPELESS_S = 3.0
"""How long the root waits for lost members to come back before it gives up for lack of a quorum.

Once its sum was handed over it does not give up before its time."""
INITIATOR_PATIENCE_S = 9.0
"""How much longer than the plan's total everybody waits for the abort ballots of the root."""
RETELL_S = 3.0
"""How long who may not know all that the root did waits at the end of its time to be told; see `aborting`."""


class RootWork:
    """The root's part of one party; idle in parties that do not sit there."""

    def __init__(
        self, plan: Plan, keys: PartyKeys, seed: bytes, succession: Succession, handovers: Handovers
    ) -> None:
        self.plan = plan
        self.keys = keys
        self.succession = succession
        self.generations = succession.of(plan.root)
        """All that we know of."""
        self._handovers = handovers
        self.openings: dict[int, Opening] = {}
        self.released = False
        self.done = False
        self.closed = False
        self.lost: frozenset[PartyId] = frozenset()
        self._seed = seed
        self.began = float("-inf")
        """When we took up the session."""
        self._holding_back: Member | None = None
        self._handover_by: float | None = None
        self._generation = 0
        self._early = succession.early
        self._hopeless_since: float | None = None
        self._hopeless = False
        self._met_at: dict[PartyId, float] = {}
        self.heard_out_s = 0.0
        """How long we have waited to be told."""

    # -- state that others ask for ------------------------------------------------------------------

    @property
    def handovers(self) -> list[HandoverCertificate]:
        """Of the root."""
        return self._handovers.of(self.plan.root)

    @property
    def assembly(self) -> Assembly:
        """The latest generation."""
        return self.generations[-1]

    @property
    def result(self) -> Result | None:
        """The result, once t+1 members vouch for what we opened."""
        return next((opening.result for opening in self.openings.values() if opening.result), None)

    @property
    def failure(self) -> str | None:
        """Why the latest opening cannot succeed."""
        latest = self.openings.get(self.assembly.generation)
        return latest.failure if latest else None

    @property
    def links(self) -> tuple[tuple[Certificate, ...], tuple[HandoverCertificate, ...]]:
        """The interim rosters, and then the handovers, that lead to the latest generation."""
        return tuple(self.succession.interim.get(self.plan.root, ())), tuple(self.handovers)

    @property
    def agreed(self) -> int:
        """0, or one more than the latest generation for whose handover we voted."""
        return self._handovers.agreed(self.plan.root)

    def sees_opening(self, members: Mapping[tuple[int, int], Member]) -> bool:
        """Whether a roster of the latest generation is certified, and shares of its total were shown."""
        return self._is_certified(members) and (self.released or self._shown)

    @property
    def _shown(self) -> bool:
        """By a member: of others with a part in the stage it would say nothing (see `sees_opening`)."""
        root = self.assembly
        return self._early.any((root.stage, root.generation), OpeningShare, root.members)

    @property
    def deadline(self) -> float | None:
        """End of a wait for a handover, of the opening's grace, or of hope."""
        if not self.openings and self._holding_back is None and self._hopeless_since is None:
            return None
        ends = []
        held = self._holding_back
        if held is not None and not self.closed and (at := self._opens_at(held)) < float("inf"):
            ends.append(at)
        ends += [opening.deadline for opening in self.openings.values() if opening.deadline is not None]
        if self._hopeless_since is not None and not self._hopeless and not self.closed:
            ends.append(self._hopeless_since + HOPELESS_S)
        return min(ends, default=None)

    def replay(self, result: Result) -> Assembly:
        """The generation that a result's chain leads to. Raises MalformedMessage."""
        return replay(self.plan, self.plan.root, result.interim, result.handovers)

    def everybody(self) -> tuple[PartyId, ...]:
        """Members of all generations."""
        return tuple(dict.fromkeys(party for assembly in self.generations for party in assembly.members))

    def speaks(self, lost: frozenset[PartyId]) -> bool:
        """Whether we are one of the first t+1 live root members, who hand the end down: one is honest."""
        live = [member for member in self.assembly.members if member not in lost]
        return self.keys.party in live[: self.assembly.threshold + 1]

    # -- inputs -------------------------------------------------------------------------------------

    def summed(self, now: float, member: Member) -> list[Effect]:
        """Our share of the root sum exists: open it, or wait for a substitute to be seated."""
        generation = member.assembly.generation
        if member.certificate is None or member.certificate.roster.is_interim:
            return []  # that is for the next generation only
        if generation in self.openings or generation != self.assembly.generation or self.done:
            return []
        if self._handover_by is None and successor_seats(self.assembly, self.lost) is not None:
            self._handover_by = now + HANDOVER_WAIT_S
        held_back = now < self._opens_at(member) and not self._shown
        self._holding_back = member if held_back else None
        return [] if held_back else self._open(now, member)

    def _opens_at(self, member: Member) -> float:
        """When we may be the first to open: no substitute is being seated, and see `_steady_at`."""
        return max(self._handover_by or float("-inf"), self._steady_at(member))

    def _steady_at(self, member: Member) -> float:
        """When we will have reached enough others for long enough to know that we were not replaced."""
        members, me = self.assembly.members, self.keys.party
        first = float("-inf") if member.voted else self.began
        since = sorted(self._met_at.get(one, first) for one in members if one not in {me, *self.lost})
        if len(since) + 1 < self.assembly.quorum:
            return float("inf")
        needed = len(members) - self.assembly.quorum
        return since[needed - 1] + RETELL_S if needed else float("-inf")

    def expire(self, now: float) -> list[Effect]:
        """A wait is over."""
        effects: list[Effect] = []
        for opening in self.openings.values():
            if opening.deadline is not None and now >= opening.deadline:
                effects += opening.expire(now)
        self._hopeless = self._hopeless_since is not None and now >= self._hopeless_since + HOPELESS_S
        return effects

    def lose(self, now: float, lost: frozenset[PartyId]) -> list[Effect]:
        """Membership changed, or who sits here: once another generation opens, ours waits for nothing."""
        if self.assembly.generation > self._generation:
            self._generation, self._handover_by, self._holding_back = self.assembly.generation, None, None
        self._met_at.update(dict.fromkeys(self.lost - lost, now))
        self.lost = lost
        live = [member for member in self.assembly.members if member not in lost]
        if len(live) >= self.assembly.quorum:
            self._hopeless_since, self._hopeless = None, False
        elif self._hopeless_since is None and self.keys.party in self.assembly.members:
            self._hopeless_since = now
        return [effect for opening in self.openings.values() for effect in opening.lose(now, lost)]

    def hears_out(self, now: float, members: Mapping[tuple[int, int], Member]) -> bool:
        """Whether to wait for RETELL_S (more) before we promise to abort, though time is over.

        Once, if others who sit here are lost, or have just come back, as all have to who was down itself:
        they may have news. Twice if we know of a certified final roster: others may have come to their shares
        with the help of ours and have opened them, and if we promise not to, the end is in doubt.
        """
        met_at = max(self._met_at.get(member, float("-inf")) for member in self.assembly.members)
        away = not self.lost.isdisjoint(self.assembly.members) or now < met_at + RETELL_S
        enough_s = 2 * RETELL_S if self._is_certified(members) else RETELL_S if away else 0.0
        waits = self.heard_out_s < enough_s
        self.heard_out_s += RETELL_S if waits else 0.0
        return waits

    def _is_certified(self, members: Mapping[tuple[int, int], Member]) -> bool:
        """Whether we sit in the latest generation and know of its final roster."""
        mine = members.get((self.assembly.stage, self.assembly.generation))
        return mine is not None and mine.certificate is not None and not mine.is_interim

    def given_up(self, members: Mapping[tuple[int, int], Member]) -> str | None:
        """Why nothing can be opened any more, if so: too many members gone for too long count as well.

        Who voted for a roster waits on: they may have it certified, and its promise alone would end nothing.
        So does everybody once the total was handed over: who was replaced may have opened its old share by
        itself, and as long as that is not known an end without the total would be in doubt.
        """
        if not self.openings and not self._hopeless:
            return None
        mine = members.get((self.assembly.stage, self.assembly.generation))
        idle = mine is not None and mine.certificate is None and not mine.voted
        hopeless = self._hopeless and not self.handovers and idle
        return self.failure or ("too many members of the root committee are gone" if hopeless else None)

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """Opening shares and result ballots. Raises ProtocolError if unacceptable."""
        if self.done:
            return []
        match message:
            case OpeningShare() | ResultVote():
                opening = self.openings.get(message.generation)
                if opening is not None:
                    return opening.receive(now, sender, message)
                self._early.put(sender, (self.plan.root, message.generation), message)
                return []
        raise UnexpectedMessage(f"the root takes no {type(message).__name__}")

    def forget(self) -> None:
        """The result is known: drop the shares."""
        self.done = True
        self._handovers.end()
        self.openings.clear()
        self._holding_back = None
        self._seed = b""

    # -- opening ------------------------------------------------------------------------------------

    def _open(self, now: float, member: Member) -> list[Effect]:
        generation = member.assembly.generation
        if self.closed or generation in self.openings or generation != self.assembly.generation:
            return []
        assert member.sum is not None
        assert member.certificate is not None
        self.released = self._handovers.opened = True
        interim, handovers = self.links
        chain = (handovers, interim)
        opening = Opening(self.assembly, self.keys, self._seed, member.certificate, member.sum, chain)
        opening.lost = self.lost
        self.openings[generation] = opening
        return [*opening.start(now), *self._replay(now, generation, OpeningShare, ResultVote)]

    def _replay(self, now: float, generation: int, *kinds: type) -> list[Effect]:
        effects: list[Effect] = []
        for sender, message in self._early.take((self.plan.root, generation), *kinds):
            try:
                effects += self.receive(now, sender, message)
            except ProtocolError:
                continue  # a bad early message must not stop the good ones
        return effects
