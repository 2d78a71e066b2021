"""One simulated session: an event heap, virtual time, faulty links, and the machines the daemon runs.

Everything random comes from the scenario's seed, drawn in the order of events, which is by time and then by
when they were put in. So a seed gives one course of events, in every process.

A party starts when the plan reaches it; what reaches it before is kept, as the runtime does. What goes wrong
is in `faults`; where a crashed party comes back from its journal, every party is the machine that can
(`protocols.sessions.durable`), else the bare one.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import traceback
from collections import deque
from typing import Any, Final

from protocols.errors import LocalMisuse, ProtocolError
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from protocols.sessions import events, roster
from protocols.sessions.assembly import Assembly, first_generation
from protocols.sessions.durable import SNAPSHOT_EVERY, DurableParty
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import BY_KIND, Certificate, PeersLost, PlanOffer
from protocols.sessions.offers import ExcerptOffer
from protocols.sessions.party import SessionParty
from protocols.sessions.plan import Plan
from protocols.sessions.rootwork import INITIATOR_PATIENCE_S
from protocols.wire import codec
from tools.sim.byzantine import Behaviour
from tools.sim.checkers import CHECKERS, Checker
from tools.sim.event_heap import EventHeap
from tools.sim.faults import Faults
from tools.sim.liars import BY_NAME
from tools.sim.mesh_plan import VARIANTS, inputs_of, parties_of, plan_of, seed_of
from tools.sim.offers import OfferReader
from tools.sim.scenario import Scenario
from tools.sim.stand_ins import encoding_afresh
from tools.sim.tracing import ending_of, place, summary

MAX_WAITING: Final = 256
MAX_IDLE_TIMERS: Final = 50
MAX_EVENTS_OF_ONE: Final = 3000  # on the average; many times what does happen
AFTER_S: Final = 3.0
OFFERS: Final = (PlanOffer, ExcerptOffer)
ENDINGS: Final = (events.Opened, events.Aborted)
CODED_EVERY: Final = 32
"""One of so many seeds passes all messages through the codec."""


class World(EventHeap):
    """Runs one scenario; `violations` says what went wrong, `trace` what happened if it was asked for."""

    def __init__(
        self, scenario: Scenario, tracing: bool = False, cast: tuple[Plan, list[PartyKeys]] | None = None
    ) -> None:
        """`cast`: another plan and its parties than the scenario describes."""
        super().__init__(tracing)
        self.scenario = scenario
        self.dice = random.Random(scenario.seed ^ 0x5EED)
        self.plan, self.keys = cast or (plan_of(scenario), parties_of(scenario))
        self.inputs = inputs_of(scenario, self.plan)
        self.ended_after: dict[PartyId, float] = {}
        self.machines: dict[PartyId, SessionParty | DurableParty] = {}
        self.started_at: dict[PartyId, float] = {}
        self.index = {key.party: index for index, key in enumerate(self.keys)}
        self.most_events = MAX_EVENTS_OF_ONE * len(self.keys)
        self.behaviours: dict[PartyId, list[Behaviour]] = {}
        self._latest_start = 0.0
        self._last: dict[tuple[PartyId, PartyId], float] = {}
        self._waiting: dict[PartyId, deque[tuple[PartyId, object]]] = {}
        self._timers: dict[PartyId, tuple[float, float]] = {}
        self._idle: dict[PartyId, int] = {}
        self._accepted: dict[int, tuple[Certificate, bool]] = {}
        self._offers = OfferReader()
        self._coded = scenario.seed % CODED_EVERY == 0
        self._durable = scenario.durable
        self._breakable = bool(scenario.crashes or scenario.cuts)
        self.drift = {key.party: 1 + self.dice.uniform(-scenario.skew, scenario.skew) for key in self.keys}
        self.offset = {key.party: self.dice.uniform(0, 1000) for key in self.keys}
        self._set_up()
        self.faults = Faults(self)
        self.checkers = [checker(self) for checker in CHECKERS]
        self._watching = {
            hook: [
                (checker, getattr(checker, hook))
                for checker in self.checkers
                if getattr(type(checker), hook) is not getattr(Checker, hook)
            ]
            for hook in ("certificate", "event", "refused", "said")
        }

    def _set_up(self) -> None:
        for index, name in self.scenario.byzantine:
            if index < len(self.keys):
                party = self.keys[index].party
                bent = BY_NAME[name](self, index, random.Random(self.dice.getrandbits(64)))
                self.behaviours.setdefault(party, []).append(bent)
        for key in self.keys:
            self.machines[key.party] = self._machine(self.plan, key.party)

    # -- what checkers and behaviours ask ----------------------------------------------------------

    def inner(self, party: PartyId) -> SessionParty:
        """The session machine itself, without what makes it durable."""
        machine = self.machines[party]
        return machine.party if isinstance(machine, DurableParty) else machine

    def label(self, party: PartyId) -> str:
        """Short name of a party."""
        return f"p{self.index[party]}" if party in self.index else party.short()

    def is_honest(self, party: PartyId, even_if_crashed: bool = False) -> bool:
        """Whether `party` follows the protocol, and still runs."""
        return party not in self.behaviours and (even_if_crashed or party not in self.faults.crashed)

    def is_running(self, party: PartyId) -> bool:
        """Whether the plan reached `party` and it is not down."""
        return party in self.started_at and party not in self.faults.crashed

    def accepts(self, certificate: Certificate) -> bool:
        """Whether an honest party would take this certificate."""
        known = self._accepted.get(id(certificate))
        if known is None:
            known = (certificate, self._verifies(certificate))
            self._accepted[id(certificate)] = known
        return known[1]

    def _verifies(self, certificate: Certificate) -> bool:
        assembly = self._assembly(certificate.roster.stage, certificate.roster.generation)
        if assembly is None:
            return False
        try:
            roster.check_certificate(assembly, certificate)
        except ProtocolError:
            return False
        return True

    def _assembly(self, stage: int, generation: int) -> Assembly | None:
        if stage >= len(self.plan.stages):
            return None
        if generation == 0:
            return first_generation(self.plan, stage)
        machines = map(self.inner, self.machines)
        chains = [machine.succession for machine in machines if machine.plan.knows(stage)]
        return next((known for chain in chains if (known := chain.at((stage, generation)))), None)

    def say(self, sender: PartyId, to: PartyId, message: object) -> None:
        """Put a message on its way as it is."""
        self._post(sender, to, message)

    @property
    def ending(self) -> str:
        """How the initiator's session ended."""
        return ending_of(self.machines[self.plan.initiator].outcome)

    @property
    def restored(self) -> int:
        """How many parties came back from their journals."""
        return len(self.faults.restored)

    # -- time ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until every honest party has ended, or its time is over for long."""
        self._start(self.plan.initiator)
        slowest = min(self.drift.values())
        patience = (self.plan.total_ms / 1000 + INITIATOR_PATIENCE_S) / slowest + AFTER_S + 1.0
        with encoding_afresh() if self._coded else contextlib.nullcontext():
            self.play(lambda: self._latest_start + patience)
        if not self.violations:
            for checker in self.checkers:
                self._complain(checker, checker.end())

    def digest(self) -> str:
        """Of the trace, the outcomes and the number of messages: equal for equal seeds."""
        state = hashlib.blake2b(digest_size=16)
        for line in self.trace or ():
            state.update(line.encode())
        ends = (f"{self.label(party)} {summary(one.outcome)}" for party, one in self.machines.items())
        state.update("".join((*ends, str(self.messages))).encode())
        return state.hexdigest()

    def local(self, party: PartyId) -> float:
        """What the party's clock shows."""
        return self.now * self.drift[party] + self.offset[party]

    def _complain(self, checker: Checker, sentences: list[str]) -> None:
        for sentence in sentences:
            self.complain(f"{checker.name}: {sentence}")

    def _ask(self, hook: str, *arguments: Any) -> None:
        for checker, look in self._watching[hook]:
            if sentences := look(*arguments):
                self._complain(checker, sentences)

    # -- messages ------------------------------------------------------------------------------------

    def _post(self, sender: PartyId, to: PartyId, message: object) -> None:
        scenario, chance = self.scenario, self.dice.random
        index = self.index
        if to not in index or to == sender:
            return
        self.messages += 1
        copies = 1
        if scenario.duplicate and chance() < scenario.duplicate:
            copies = 2
        if scenario.loss and chance() < scenario.loss:
            copies -= 1
            self.note(f"{self.label(sender)} -> {self.label(to)}  a message is lost on the way")
        shortest, longest = scenario.latency_s
        for _ in range(copies):
            delay = shortest + (longest - shortest) * chance()
            if scenario.slow and (index[sender] in scenario.slow or index[to] in scenario.slow):
                delay *= 10
            moment = self.now + delay
            if scenario.in_order:
                link = (sender, to)
                after = self._last.get(link, 0.0) + 1e-6
                self._last[link] = moment = after if after > moment else moment
            self.at(moment, self._deliver, sender, to, message)

    def _deliver(self, sender: PartyId, to: PartyId, message: Any) -> None:
        if self._breakable and self.faults.stops(sender, to):
            self.note(f"{self.label(sender)} -> {self.label(to)}  {type(message).KIND} does not arrive")
        elif isinstance(message, OFFERS):
            self._offered(to, message)
        elif to not in self.started_at:
            kept = self._waiting.setdefault(to, deque(maxlen=MAX_WAITING))
            kept.append((sender, message))
        else:
            self._take(sender, to, message)

    def _take(self, sender: PartyId, to: PartyId, message: Any) -> None:
        if self.trace is not None:
            self.note(f"{self.label(sender)} -> {self.label(to)}  {type(message).KIND}{place(message)}")
        if isinstance(message, Certificate):
            self._ask("certificate", message)
        if self.behaviours:
            for behaviour in self.behaviours.get(to, ()):
                behaviour.hear(sender, message)
        if self._coded:
            try:
                message = codec.decode(BY_KIND[type(message).KIND], codec.encode(message))
            except Exception as error:
                if sender not in self.behaviours:
                    self.violations.append(f"codec: {type(message).__name__}: {error}")
                return
        self.step(to, sender, message)

    # -- machines ------------------------------------------------------------------------------------

    def _offered(self, party: PartyId, offer: PlanOffer | ExcerptOffer) -> None:
        """It starts, and knows no more of the plan than it was offered."""
        down = party in self.started_at or party in self.faults.crashed
        if isinstance(offer, ExcerptOffer) and not down:
            try:
                mine = self._offers.read(offer, party, self.plan.session)
                self.machines[party] = self._machine(mine, party)
            except LocalMisuse as error:
                return self.note(f"no part of the plan for {self.label(party)} leaves a node: {error}")
            except ProtocolError as error:
                return self.note(f"{self.label(party)} refuses its part of the plan: {error}")
        return self._start(party)

    def _machine(self, plan: Plan, party: PartyId) -> SessionParty | DurableParty:
        made = DurableParty if self._durable else SessionParty
        index = self.index[party]
        seed = seed_of(index, f"session {self.scenario.seed % VARIANTS}")
        machine = made(plan, self.keys[index], seed, self.inputs.get(party))
        if isinstance(machine, DurableParty):
            every = (SNAPSHOT_EVERY, 1, 4, 0)[self.scenario.seed % 4]
            machine.snapshot_every = 0 if party in self.behaviours else every  # not of what is tampered with
        return machine

    def _start(self, party: PartyId) -> None:
        if party in self.started_at or party in self.faults.crashed:
            return
        self.started_at[party] = self._latest_start = self.now
        for behaviour in self.behaviours.get(party, ()):
            behaviour.begin(self.inner(party))
        self.note(f"{self.label(party)} starts")
        self.call(party, None, self.machines[party].start, self.local(party))
        for behaviour in self.behaviours.get(party, ()):
            behaviour.begun()
        self.faults.tell_first_view(party)
        for sender, message in self._waiting.pop(party, ()):
            if party in self.started_at and party not in self.faults.crashed:
                self._take(sender, party, message)

    def renew(self, party: PartyId) -> None:
        """It lost all it knew of the session: a new machine, for when the plan reaches it again."""
        self.started_at.pop(party, None)
        index, inputs = self.index[party], self.inputs.get(party)
        seed = seed_of(index, "another life")
        self.machines[party] = DurableParty(self.plan, self.keys[index], seed, inputs)

    def step(self, party: PartyId, sender: PartyId, message: object) -> None:
        """The party's machine takes one message."""
        self._idle[party] = 0
        self.call(party, sender, self.machines[party].receive, self.local(party), sender, message)

    def tell_lost(self, party: PartyId, view: tuple[PartyId, ...]) -> None:
        """Its membership layer says who cannot be reached."""
        if self.trace is not None:
            self.note(f"{self.label(party)} sees lost: {' '.join(map(self.label, view)) or 'nobody'}")
        self.step(party, party, PeersLost(view))

    def _expire(self, party: PartyId, moment: float) -> None:
        due, planned = self._timers.get(party, (0.0, None))
        if planned != moment or party in self.faults.crashed:
            return
        self._timers.pop(party)
        self._idle[party] = self._idle.get(party, 0) + 1
        if self._idle[party] > MAX_IDLE_TIMERS:
            self.violations.append(f"ends: {self.label(party)} spins on a deadline in the past")
        if self.trace is not None:
            self.note(f"{self.label(party)} timer")
        self.call(party, None, self.machines[party].expire, max(self.local(party), due))

    def call(self, party: PartyId, sender: PartyId | None, step: Any, *arguments: Any) -> None:
        """One step of a machine, and its effects; a party that is to crash in it does so between two."""
        effects: list[Effect] = []
        try:
            effects = step(*arguments)
        except ProtocolError as error:
            if self.trace is not None:
                self.note(f"{self.label(party)} refuses: {error}")
            if sender is not None and party not in self.behaviours:
                self._ask("refused", sender, party, error)
            if sender is not None and party not in self.faults.doomed:
                return  # its state, and with it the deadline, is as before
        except Exception as error:
            if party not in self.behaviours:
                where = traceback.extract_tb(error.__traceback__)[-1]
                spot = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
                self.violations.append(f"raised: {self.label(party)} {error!r} at {spot}")
        if party in self.faults.doomed:
            effects = self.faults.cut_short(party, effects)
        for effect in effects:
            self._carry_out(party, effect)
        if party in self.faults.doomed:
            self.faults.crash(party)
        else:
            self._set_timer(party)

    def _carry_out(self, party: PartyId, effect: Effect) -> None:
        if isinstance(effect, Broadcast):
            send = self._send if self._durable or party in self.behaviours else self._post
            for to in effect.to:
                send(party, to, effect.message)
        elif isinstance(effect, Send):
            self._send(party, effect.to, effect.message)
        elif isinstance(effect, Publish):
            self._publish(party, effect.event)
        if self._durable:
            if isinstance(effect, Persist):
                self.faults.store(party, effect.record)
            else:
                self.faults.spoke(party)

    def _send(self, party: PartyId, to: PartyId, message: Any) -> None:
        if party in self.behaviours:
            for behaviour in self.behaviours[party]:
                message = behaviour.send(to, message)
                if message is None:
                    return
        elif self._durable:
            self._ask("said", party, message)
        self._post(party, to, message)

    def _publish(self, party: PartyId, event: object) -> None:
        if isinstance(event, ENDINGS):
            self.ended_after.setdefault(party, (self.now - self.started_at[party]) * self.drift[party])
            self.note(f"{self.label(party)} ends: {summary(event)}")
        elif self.trace is not None and isinstance(event, events.Named):
            self.note(f"{self.label(party)} names {self.label(event.party)}: {event.fault}")
        elif self.trace is not None and isinstance(event, events.Progress):
            self.note(f"{self.label(party)} stage {event.stage} {event.phase}: {event.detail}")
        if party not in self.behaviours:
            self._ask("event", party, event)

    def forget_timer(self, party: PartyId) -> None:
        """It is down."""
        self._timers.pop(party, None)

    def _set_timer(self, party: PartyId) -> None:
        due = self.machines[party].deadline
        if due is None:
            self._timers.pop(party, None)
            return
        known = self._timers.get(party)
        if known is not None and known[0] == due:
            return
        moment = max(self.now, (due - self.offset[party]) / self.drift[party])
        self._timers[party] = (due, moment)
        self.at(moment, self._expire, party, moment)
