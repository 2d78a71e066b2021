"""What goes wrong around the machines of a simulated session: crashes, restarts, cuts, and who notices.

A crash falls between two steps of a party or into the middle of one: then some prefix of the step's effects
is carried out. Half of the links of a crashed party lose what was under way. Its disk holds the records it
persisted; the write may be torn: of those that nothing was said after, the last ones may be gone.

A party with `restores` comes back from that disk as the daemon does (`DurableParty.restore`), with a clock of
a new origin; one whose disk is empty starts afresh when the plan reaches it; one that cannot be restored, or
does not want to, abstains: it is silent for the rest of the session.

Whoever notices a crash or a cut hears of it at a moment of its own within NOTICE_SPREAD_S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocols.errors import LocalMisuse
from protocols.identifiers import PartyId
from protocols.machine import Effect
from protocols.sessions.durable import DurableParty
from tools.sim.scenario import Crash

if TYPE_CHECKING:
    from tools.sim.world import World

NOTICE_SPREAD_S: Final = 0.4
CUT_NOTICE_S: Final = 0.8


class Faults:
    """Crashes and cuts of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.crashed: dict[PartyId, float] = {}
        self.doomed: set[PartyId] = set()
        self.restored: dict[PartyId, float] = {}
        self.disks: dict[PartyId, list[object]] = {}
        self._safe: dict[PartyId, int] = {}
        self._torn: set[tuple[PartyId, PartyId]] = set()
        self._views: dict[PartyId, tuple[PartyId, ...]] = {}
        for crash in world.scenario.crashes:
            world.at(crash.at_s, self._strike, crash)
            for moment in (crash.noticed_s, crash.back_s):
                self._spread_news(moment)
            if crash.restores and crash.back_s >= 0:
                world.at(crash.back_s, self._come_back, crash)
        for cut in world.scenario.cuts:
            if cut.noticed:
                self._spread_news(cut.start_s + CUT_NOTICE_S)
                self._spread_news(cut.end_s)

    # -- links ---------------------------------------------------------------------------------------

    def stops(self, sender: PartyId, to: PartyId) -> bool:
        """Whether nothing passes from `sender` to `to` now."""
        if to in self.crashed or (sender in self.crashed and (sender, to) in self._torn):
            return True
        index, now = self.world.index, self.world.now
        for cut in self.world.scenario.cuts:
            if cut.start_s <= now < cut.end_s and (index[sender] in cut.side) != (index[to] in cut.side):
                return True
        return False

    # -- crashes -------------------------------------------------------------------------------------

    def _strike(self, crash: Crash) -> None:
        """At once, or in the middle of the party's next step."""
        party = self.world.keys[crash.index].party
        if party in self.crashed:
            return
        if crash.in_step and party in self.world.started_at:
            self.doomed.add(party)
        else:
            self.crash(party)

    def cut_short(self, party: PartyId, effects: list[Effect]) -> list[Effect]:
        """The effects that a doomed party still carries out."""
        kept = self.world.dice.randint(0, len(effects))
        self.world.note(f"{self.world.label(party)} carries out {kept} of {len(effects)} effects")
        return effects[:kept]

    def crash(self, party: PartyId) -> None:
        """The party stops; what was written last may be torn."""
        world = self.world
        world.note(f"{world.label(party)} crashes")
        self.doomed.discard(party)
        self.crashed[party] = world.now
        world.forget_timer(party)
        for key in world.keys:
            if world.dice.random() < 0.5:
                self._torn.add((party, key.party))
        disk = self.disks.get(party, [])
        safe = self._safe.get(party, 0)
        if len(disk) > safe and world.dice.random() < 0.5:
            del disk[world.dice.randint(safe, len(disk)) :]
            world.note(f"{world.label(party)} finds {len(disk)} whole records in its journal")

    def store(self, party: PartyId, record: object) -> None:
        """The party's journal grows."""
        self.disks.setdefault(party, []).append(record)

    def spoke(self, party: PartyId) -> None:
        """Something left the party: what is stored by now was stored before."""
        self._safe[party] = len(self.disks.get(party, ()))

    def _come_back(self, crash: Crash) -> None:
        world, party = self.world, self.world.keys[crash.index].party
        if self.crashed.pop(party, None) is None:
            self.doomed.discard(party)
            return
        self._torn = {link for link in self._torn if link[0] != party}
        disk = self.disks.get(party, [])
        world.offset[party] = world.dice.uniform(0, 1000) - world.now
        if not disk:
            world.note(f"{world.label(party)} is back and knows nothing of the session")
            world.renew(party)
            return
        elapsed = (world.now - world.started_at[party]) * world.drift[party]
        try:
            machine, effects = DurableParty.restore(
                world.keys[crash.index], disk, world.local(party), elapsed
            )
        except LocalMisuse as misuse:
            world.note(f"{world.label(party)} abstains: {misuse}")
            self.crashed[party] = world.now
            return
        world.note(f"{world.label(party)} is back from {len(disk)} records")
        self.restored[party] = world.now
        world.machines[party] = machine
        world.call(party, None, lambda: effects)
        self._views[party] = self._lost_to(party)
        world.tell_lost(party, self._views[party])

    # -- news ----------------------------------------------------------------------------------------

    def _spread_news(self, moment: float) -> None:
        if moment >= 0:
            for key in self.world.keys:
                spread = self.world.dice.uniform(0, NOTICE_SPREAD_S)
                self.world.at(moment + spread, self._hear_news, key.party)

    def _lost_to(self, party: PartyId) -> tuple[PartyId, ...]:
        now, lost = self.world.now, set()
        for crash in self.world.scenario.crashes:
            if 0 <= crash.noticed_s <= now and not 0 <= crash.back_s <= now:
                lost.add(self.world.keys[crash.index].party)
        for cut in self.world.scenario.cuts:
            if cut.noticed and cut.start_s + CUT_NOTICE_S <= now < cut.end_s:
                mine = self.world.index[party] in cut.side
                lost |= {k.party for i, k in enumerate(self.world.keys) if (i in cut.side) != mine}
        return tuple(sorted(lost - {party}))

    def _hear_news(self, party: PartyId) -> None:
        view = self._lost_to(party)
        if view == self._views.get(party, ()) or party in self.crashed:
            return
        self._views[party] = view
        if party in self.world.started_at:
            self.world.tell_lost(party, view)

    def tell_first_view(self, party: PartyId) -> None:
        """The session begins here: who is known to be lost by now."""
        if self._views.get(party) and party not in self.crashed:
            self.world.tell_lost(party, self._views[party])
