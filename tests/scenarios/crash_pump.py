"""The toy network with disks: parties crash between any two effects, with torn writes, and come back.

A disk is the list of records that were stored. A crash at effect k carries out what stands before it; of the
records stored since the last message left, any number may be torn off: nobody was told anything after them.
`Sayings` looks at all that ever left a party, in all its lives, for two things said where one may be said.
"""

from __future__ import annotations

from protocols.machine import Persist
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.durable import DurableParty
from protocols.sessions.messages import (
    CheckShares,
    Deal,
    HandoverVote,
    OpeningShare,
    Proposal,
    ResultVote,
    Vote,
)
from protocols.wire import codec
from tests.scenarios.pump import Pump, seed_of


class Sayings:
    """What parties said in slots where they may say one thing only; `contradictions` in words."""

    def __init__(self):
        self.said = {}
        self.promised = set()
        self.contradictions = []

    def note(self, sender, message):
        """One message leaves `sender`."""
        slot = self._slot(message)
        if slot is None:
            return
        if isinstance(message, AbortVote):
            self.promised.add(sender)
            return
        body = codec.encode(message)
        if (
            (sender, slot) not in self.said
            and sender in self.promised
            and slot[0] in ("Vote", "OpeningShare")
        ):
            self.contradictions.append(f"{sender.short()} promised to abort, then {slot}")
        if self.said.setdefault((sender, slot), body) != body:
            self.contradictions.append(f"{sender.short()} said two things: {slot}")

    def _slot(self, message):
        name = type(message).__name__
        match message:
            case Deal() if message.sealed:  # the public half alone is of whoever dealt it
                d = message.dealing
                return name, d.stage, d.generation, d.source
            case Proposal():
                return name, message.roster.stage, message.roster.generation
            case Vote() | HandoverVote() | CheckShares() | OpeningShare() | ResultVote():
                return name, message.stage, message.generation
            case AbortVote():
                return (name,)
        return None


class CrashPump(Pump):
    """Parties are DurableParty. `crashes`: (party, effect number counted from 1) -> (torn records, back after
    that many deliveries); `noticed`: the others see it gone meanwhile."""

    def __init__(self, plan, keys, inputs, *, crashes=None, noticed=True, **options):
        super().__init__(plan, keys, inputs, **options)
        refusals = options.get("refusals") or {}
        self.keys = {key.party: key for key in keys}
        self.parties = {
            key.party: DurableParty(
                plan, key, seed_of(i), inputs.get(key.party), refusals.get(key.party, "no data")
            )
            for i, key in enumerate(keys)
        }
        self.given = inputs
        self.crashes = dict(crashes or {})
        self.noticed = noticed
        self.disks = {party: [] for party in self.parties}
        self.lives = dict.fromkeys(self.parties, 1)
        self.effects = dict.fromkeys(self.parties, 0)
        self.back_at = {}
        self.began = {}
        self.sayings = Sayings()

    def start(self):
        for party in self.parties:
            self.began[party] = self.now
        super().start()

    def _carry_out(self, party, effects):
        since = 0
        for effect in effects:
            if party in self.dead:
                return
            self.effects[party] += 1
            crash = self.crashes.pop((party, self.effects[party]), None)
            if crash is not None:
                torn, back = crash
                torn = min(torn, since)
                if torn:
                    del self.disks[party][-torn:]
                self._crash(party, back)
                return
            since = since + 1 if isinstance(effect, Persist) else 0
            if isinstance(effect, Persist):
                self.disks[party].append(effect.record)
            super()._carry_out(party, [effect])

    def _post(self, sender, to, message):
        self.sayings.note(sender, message)
        super()._post(sender, to, message)

    def _crash(self, party, back):
        self.back_at[party] = self.delivered + back
        self.kill(party, self.noticed)

    def _deliver(self, sender, to, message):
        super()._deliver(sender, to, message)
        for party, moment in list(self.back_at.items()):
            if self.delivered >= moment:
                self.come_back(party)

    def run(self, until=60.0):
        """As before; who is still away when nothing moves any more comes back then."""
        stop = self.now + until
        while True:
            while self.queue:
                self._deliver(*self._next())
            if self.back_at:
                self.come_back(next(iter(self.back_at)))
                continue
            super().run(stop - self.now)
            if not self.back_at:
                return

    def come_back(self, party):
        """Restart `party` from its disk. Its links broke with it, so now at the latest all saw it gone."""
        del self.back_at[party]
        self.notice()
        self.dead.discard(party)
        self.lives[party] += 1
        if not self.disks[party]:  # never begun, as far as anybody knows: the plan reaches it again
            self.began[party] = self.now
            self._carry_out(party, self._fresh(party).start(self.now))
            self.notice()
            return
        records = [codec.decode(type(r), codec.encode(r)) for r in self.disks[party]]
        elapsed = self.now - self.began[party]
        machine, effects = DurableParty.restore(self.keys[party], records, self.now, elapsed)
        self.parties[party] = machine
        self._carry_out(party, effects)
        self.notice()

    def _fresh(self, party):
        index = list(self.parties).index(party)
        seed, given = seed_of(index + 1000), self.given.get(party)
        self.parties[party] = DurableParty(self.plan, self.keys[party], seed, given, "no data")
        return self.parties[party]
