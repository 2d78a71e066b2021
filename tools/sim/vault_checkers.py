"""What must hold in every simulated vault, checked apart from whatever drives it.

right answer    what a reader opens is what the owner deposited
few shares      of no generation do more than T parties keep shares that lie, or should have erased theirs
one generation  no two honest parties take different holders, or makings, of one generation for true
one voice       no honest party votes, acknowledges or deals twice in one place, over all its lives
consent         no two readings that quorums consented to isolate fewer than min_sites owners, and there
                are no more of them than max_uses allows, whoever held the seats (see `vault.consent`)
erased          who confirms an erasure keeps nothing; in the end no honest party that is there keeps
                anything of a vault whose end another one knows
blameless       nobody honest is named with proof, or blamed for a message
ends            in the end all holders that are there stand in one generation, renewed not long ago, and
                answer, if they are a quorum without liars
bounded memory  a holder keeps a bounded number of things
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from protocols.identifiers import Digest, PartyId
from protocols.vault import consent
from protocols.vault.consent import Use
from protocols.vault.messages import VaultErased, VaultReceipt
from protocols.vault.reading import ReadingFailed, ReadingOpened
from protocols.vault.renewal_messages import VaultAck, VaultDeal, VaultVote
from protocols.vault.standing import Standing, origin
from tools.sim.checkers import weigh
from tools.sim.vault_disk import Origin
from tools.sim.vault_scenario import STOP_S, TOTAL_S

if TYPE_CHECKING:
    from tools.sim.vault_clients import Inquiry
    from tools.sim.vault_node import VaultNode
    from tools.sim.vault_world import VaultWorld

MAX_ITEMS: Final = 4000
RENEWAL_S: Final = 12.0
"""How long a renewal may take once nothing goes wrong any more, with a view or two led by nobody."""


class VaultChecker:
    """All rules of one world."""

    def __init__(self, world: VaultWorld) -> None:
        self.world = world
        self.terms = world.signed.terms
        self._made: dict[int, tuple[Digest, tuple[PartyId, ...]]] = {}
        self._corrupt: dict[Origin, set[PartyId]] = {}
        self._uses: dict[Digest, Use] = {}
        self._voiced: dict[tuple[Any, ...], bytes] = {}

    def _liars(self) -> set[PartyId]:
        return {node.party for node in self.world.nodes.values() if node.index in self.world.liars}

    # -- as it happens --------------------------------------------------------------------------------

    def adopted(self, node: VaultNode, standing: Standing) -> None:
        """`node` takes a standing for the newest."""
        if node.index in self.world.liars:
            return
        generation, made = standing.generation, (origin(standing), standing.members)
        if self._made.setdefault(generation, made) != made:
            self.world.complain(f"one generation: p{node.index} knows another {generation} than others")
        place = (generation, made[0])
        self._corrupt.setdefault(place, set()).update(self._liars() & set(standing.members))

    def answered(self, inquiry: Inquiry, generation: int, outcome: ReadingOpened) -> None:
        """A quorum consented; without live sites there is an answer too."""
        world, use = self.world, consent.use_of(inquiry.reading)
        if outcome.values.size:
            wanted = world.vector[consent.elements(self.terms, inquiry.reading.queries)]
            if not np.array_equal(wanted, outcome.values):
                world.complain(f"right answer: p{inquiry.asks.index} reads something else")
            wronged = [one for one in outcome.liars if one not in self._liars()]
            if wronged:
                world.complain(f"blameless: {world.label(wronged[0])} is said to have lied")
        if use.name not in self._uses:
            for earlier in self._uses.values():
                owners = {owner for _, owner in earlier.sites ^ use.sites}
                apart = len(owners - {earlier.requester, use.requester})
                if 0 < apart < self.terms.consent.min_sites and earlier.queries == use.queries:
                    world.complain(f"consent: in generation {generation} two answers are {apart} apart")
            self._uses[use.name] = use
        rules, size = self.terms.consent, len(self.terms.seats)
        if rules.min_sites > 1 and use.others < rules.min_sites:
            world.complain(f"consent: an answer about {use.others} owners")
        most = rules.max_uses * size / (self.terms.quorum - self.terms.threshold)
        if rules.max_uses and len(self._uses) > most:
            world.complain(f"consent: {len(self._uses)} uses where the owner allows {rules.max_uses}")

    def failed(self, inquiry: Inquiry, outcome: ReadingFailed) -> None:
        """There was no answer."""
        if self.world.now > TOTAL_S - 10.0 and not outcome.denied and self._can_answer():
            self.world.complain(f"ends: p{inquiry.asks.index} gets no answer: {outcome.reason}")

    def _can_answer(self) -> bool:
        standing = self.world.newest(None)
        if standing is None or set(standing.members) & self._liars():
            return False
        seated = [node for node in self._there() if node.party in standing.members]
        fit = [
            node for node in seated
            if node.disk.standing is not None and node.disk.standing.generation == standing.generation
            and node.share(standing) is not None and node.disk.learning is None
        ]  # fmt: skip
        renewing = any(node.renewals.machine is not None for node in seated)
        return len(fit) == len(standing.members) and not renewing

    def said(self, node: VaultNode, message: object) -> None:
        """A party says something."""
        if node.index in self.world.liars:
            return
        if isinstance(message, VaultErased) and node.disk.fragments:
            self.world.complain(f"erased: p{node.index} says so and keeps shares")
        place, content = _slot(message, node.party)
        if place is not None and self._voiced.setdefault((node.index, *place), content) != content:
            self.world.complain(f"one voice: p{node.index} contradicts its {place[0]}")

    # -- in the end -----------------------------------------------------------------------------------

    def _there(self) -> list[VaultNode]:
        return [node for node in self.world.nodes.values() if node.up and node.index not in self.world.liars]

    def end(self) -> None:
        """The simulation is over."""
        self._few_shares()
        self._erased()
        self._in_step()
        for node in self._there():
            self.weighed(node)

    def weighed(self, node: VaultNode) -> None:
        """Whether a holder keeps too much; asked in the middle of renewals that are flooded, too."""
        items = weigh(node.disk) + weigh(node.renewals.machine)
        if node.index not in self.world.liars and items > MAX_ITEMS:
            self.world.complain(f"bounded memory: p{node.index} keeps {items} things")

    def _few_shares(self) -> None:
        exposed = {place: set(parties) for place, parties in self._corrupt.items()}
        for node in self._there():
            standing = node.disk.standing
            newest = standing.generation if standing else -1 if node.disk.terms else 1 << 31
            for place in node.disk.fragments:
                if place[0] < newest:
                    exposed.setdefault(place, set()).add(node.party)
        for (generation, _), parties in exposed.items():
            if len(parties) > self.terms.threshold:
                self.world.complain(f"few shares: {len(parties)} of generation {generation} are exposed")

    def _erased(self) -> None:
        there = self._there()
        if not any(node.disk.order is not None for node in there):
            return
        if 0 <= self.world.owner.ordered_s < STOP_S + RENEWAL_S:
            for node in there:
                if node.disk.fragments:
                    self.world.complain(f"erased: p{node.index} still has a share")

    def _in_step(self) -> None:
        newest, there = self.world.newest(None), self._there()
        if newest is None or any(node.disk.ended for node in there):
            return
        seated = [node for node in there if node.party in newest.members]
        if len(seated) < self.terms.quorum:
            return
        for node in seated:
            standing = node.disk.standing
            behind = newest.generation - (standing.generation if standing else -1)
            if behind and node.renewals.machine is None and self._settled(seated):
                self.world.complain(f"ends: p{node.index} is {behind} generations behind")
        latest = max(node.disk.renewed_s for node in seated)
        if latest < TOTAL_S - 2 * self.world.scenario.epoch_s - RENEWAL_S:
            self.world.complain(f"ends: the last renewal was at {latest:.1f} s")

    def _settled(self, seated: list[VaultNode]) -> bool:
        return all(node.renewals.machine is None for node in seated)


def _slot(message: object, party: PartyId) -> tuple[tuple[Any, ...] | None, bytes]:
    """What a message may be said about once, and what it says."""
    match message:
        case VaultVote():
            return (message.KIND, message.place, message.view, message.final), bytes(message.outcome)
        case VaultAck():
            return (message.KIND, message.place), bytes(message.outcome) + bytes(
                [message.good, *message.left_out]
            )
        case VaultDeal() if message.deal.dealing.dealer == party:  # those of others anybody may pass on
            return (message.KIND, message.place, message.seats), bytes(message.deal.dealing.signature)
        case VaultReceipt():
            return (message.KIND, message.vault), bytes(message.dealing)
    return None, b""
