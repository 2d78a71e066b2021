"""One simulated session: an event heap, virtual time, faulty links, and the machines the daemon runs.

Everything random comes from the scenario's seed, drawn in the order of events; events are ordered by time
and, at one time, by when they were put in. So a seed gives one course of events, in every process.

A party starts when the plan reaches it; what reaches it before is kept, as the runtime does. A crashed
party is silent for the rest of the session, also when it is reachable again: after a restart the runtime
abstains from sessions that were live. Half of the links of a crashed party lose what was under way.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import traceback
from collections import deque
from typing import Any, Final

from protocols.errors import ProtocolError
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Publish, Send
from protocols.sessions import events, roster
from protocols.sessions.assembly import Assembly, first_generation
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import BY_KIND, Certificate, PeersLost, PlanOffer
from protocols.sessions.party import INITIATOR_PATIENCE_S, SessionParty
from protocols.sessions.plan import Plan
from protocols.wire import codec
from tools.sim.byzantine import Behaviour
from tools.sim.checkers import CHECKERS, Checker
from tools.sim.liars import BY_NAME
from tools.sim.mesh_plan import VARIANTS, inputs_of, parties_of, plan_of, seed_of
from tools.sim.scenario import Scenario

NOTICE_SPREAD_S: Final = 0.4
CUT_NOTICE_S: Final = 0.8
MAX_WAITING: Final = 256
MAX_IDLE_TIMERS: Final = 50
AFTER_S: Final = 3.0


class World:
    """Runs one scenario; `violations` says what went wrong, `trace` what happened if it was asked for."""

    def __init__(
        self, scenario: Scenario, tracing: bool = False, cast: tuple[Plan, list[PartyKeys]] | None = None
    ) -> None:
        """`cast`: another plan and its parties than the scenario describes."""
        self.scenario = scenario
        self.dice = random.Random(scenario.seed ^ 0x5EED)
        self.plan, self.keys = cast or (plan_of(scenario), parties_of(scenario))
        self.inputs = inputs_of(scenario, self.plan)
        self.now = 0.0
        self.violations: list[str] = []
        self.trace: list[str] | None = [] if tracing else None
        self.messages = 0
        self.ended_after: dict[PartyId, float] = {}
        self.machines: dict[PartyId, SessionParty] = {}
        self.checkers: list[Checker] = []
        self._index = {key.party: index for index, key in enumerate(self.keys)}
        self._heap: list[tuple[float, int, str, Any]] = []
        self._count = 0
        self._crashed: dict[PartyId, float] = {}
        self._torn: set[tuple[PartyId, PartyId]] = set()
        self._last: dict[tuple[PartyId, PartyId], float] = {}
        self._waiting: dict[PartyId, deque[tuple[PartyId, object]]] = {}
        self._views: dict[PartyId, tuple[PartyId, ...]] = {}
        self._timers: dict[PartyId, float] = {}
        self._idle: dict[PartyId, int] = {}
        self._started_at: dict[PartyId, float] = {}
        self._accepted: dict[int, tuple[Certificate, bool]] = {}
        self._coded = scenario.seed % 16 == 0
        self._set_up()
        self.checkers = [checker(self) for checker in CHECKERS]

    def _set_up(self) -> None:
        skew = self.scenario.skew
        self._drift = {key.party: 1 + self.dice.uniform(-skew, skew) for key in self.keys}
        self._offset = {key.party: self.dice.uniform(0, 1000) for key in self.keys}
        self._behaviours: dict[PartyId, list[Behaviour]] = {}
        for index, name in self.scenario.byzantine:
            if index < len(self.keys):
                party = self.keys[index].party
                bent = BY_NAME[name](self, index, random.Random(self.dice.getrandbits(64)))
                self._behaviours.setdefault(party, []).append(bent)
        for index, key in enumerate(self.keys):
            seed = seed_of(index, f"session {self.scenario.seed % VARIANTS}")
            self.machines[key.party] = SessionParty(self.plan, key, seed, self.inputs.get(key.party))
            self._waiting[key.party] = deque(maxlen=MAX_WAITING)
        for crash in self.scenario.crashes:
            self._at(crash.at_s, "crash", crash)
            for moment in (crash.noticed_s, crash.back_s):
                self._spread_news(moment)
        for cut in self.scenario.cuts:
            if cut.noticed:
                self._spread_news(cut.start_s + CUT_NOTICE_S)
                self._spread_news(cut.end_s)

    # -- what checkers and behaviours ask ----------------------------------------------------------

    def label(self, party: PartyId) -> str:
        """Short name of a party."""
        return f"p{self._index[party]}" if party in self._index else party.short()

    def is_honest(self, party: PartyId, even_if_crashed: bool = False) -> bool:
        """Whether `party` follows the protocol, and still runs."""
        return party not in self._behaviours and (even_if_crashed or party not in self._crashed)

    def is_running(self, party: PartyId) -> bool:
        """Whether the plan reached `party` and it did not crash."""
        return party in self._started_at and party not in self._crashed

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
        chains = [m.root.generations for m in self.machines.values()]
        longest = max(chains, key=len)
        return longest[generation] if stage == self.plan.root and generation < len(longest) else None

    def say(self, sender: PartyId, to: PartyId, message: object) -> None:
        """Put a message on its way as it is."""
        self._post(sender, to, message)

    # -- time ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until every honest party has ended, or its time is over for long."""
        self._start(self.plan.initiator)
        slowest = min(self._drift.values())
        horizon = (self.plan.total_ms / 1000 + INITIATOR_PATIENCE_S) / slowest + AFTER_S + 1.0
        while self._heap and not self.violations:
            self.now, _, kind, data = heapq.heappop(self._heap)
            if self.now > horizon:
                break
            if kind == "deliver":
                self._deliver(*data)
            elif kind == "timer":
                self._expire(data)
            elif kind == "crash":
                self._crash(self.keys[data.index].party)
            elif kind == "news":
                self._hear_news(data)
        if not self.violations:
            for checker in self.checkers:
                self._complain(checker, checker.end())

    def digest(self) -> str:
        """Of the trace, the outcomes and the number of messages: equal for equal seeds."""
        state = hashlib.blake2b(digest_size=16)
        for line in self.trace or ():
            state.update(line.encode())
        for party, machine in self.machines.items():
            state.update(f"{self.label(party)} {_summary(machine.outcome)}".encode())
        state.update(str(self.messages).encode())
        return state.hexdigest()

    def _at(self, moment: float, kind: str, data: object) -> None:
        self._count += 1
        heapq.heappush(self._heap, (moment, self._count, kind, data))

    def _local(self, party: PartyId) -> float:
        return self.now * self._drift[party] + self._offset[party]

    def _note(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now:9.4f}  {text}")

    def _complain(self, checker: Checker, sentences: list[str]) -> None:
        for sentence in sentences:
            self.violations.append(f"{checker.name}: {sentence}")
            self._note(f"VIOLATION {checker.name}: {sentence}")

    # -- faults ----------------------------------------------------------------------------------------

    def _crash(self, party: PartyId) -> None:
        self._note(f"{self.label(party)} crashes")
        self._crashed[party] = self.now
        for key in self.keys:
            if self.dice.random() < 0.5:
                self._torn.add((party, key.party))

    def _spread_news(self, moment: float) -> None:
        if moment >= 0:
            for key in self.keys:
                self._at(moment + self.dice.uniform(0, NOTICE_SPREAD_S), "news", key.party)

    def _lost_to(self, party: PartyId) -> tuple[PartyId, ...]:
        lost = set()
        for crash in self.scenario.crashes:
            if 0 <= crash.noticed_s <= self.now and not 0 <= crash.back_s <= self.now:
                lost.add(self.keys[crash.index].party)
        for cut in self.scenario.cuts:
            if cut.noticed and cut.start_s + CUT_NOTICE_S <= self.now < cut.end_s:
                mine = self._index[party] in cut.side
                lost |= {key.party for i, key in enumerate(self.keys) if (i in cut.side) != mine}
        return tuple(sorted(lost - {party}))

    def _hear_news(self, party: PartyId) -> None:
        view = self._lost_to(party)
        if view == self._views.get(party, ()) or party in self._crashed:
            return
        self._views[party] = view
        if party in self._started_at:
            self._tell_view(party)

    def _tell_view(self, party: PartyId) -> None:
        view = self._views.get(party, ())
        self._note(f"{self.label(party)} sees lost: {' '.join(self.label(p) for p in view) or 'nobody'}")
        self._step(party, party, PeersLost(view))

    def _is_cut(self, sender: PartyId, to: PartyId) -> bool:
        one, other = self._index[sender], self._index[to]
        return any(
            cut.start_s <= self.now < cut.end_s and (one in cut.side) != (other in cut.side)
            for cut in self.scenario.cuts
        )

    # -- messages ------------------------------------------------------------------------------------

    def _post(self, sender: PartyId, to: PartyId, message: object) -> None:
        scenario, dice = self.scenario, self.dice
        if to not in self._index or to == sender:
            return
        self.messages += 1
        copies = 1 + (scenario.duplicate > 0 and dice.random() < scenario.duplicate)
        if scenario.loss and dice.random() < scenario.loss:
            copies -= 1
        for _ in range(copies):
            delay = dice.uniform(*scenario.latency_s)
            if scenario.slow and (self._index[sender] in scenario.slow or self._index[to] in scenario.slow):
                delay *= 10
            moment = self.now + delay
            if scenario.in_order:
                moment = max(moment, self._last.get((sender, to), 0.0) + 1e-6)
                self._last[sender, to] = moment
            self._at(moment, "deliver", (sender, to, message))

    def _deliver(self, sender: PartyId, to: PartyId, message: Any) -> None:
        if to in self._crashed or self._is_cut(sender, to):
            return
        if sender in self._crashed and (sender, to) in self._torn:
            return
        if isinstance(message, PlanOffer):
            self._start(to)
        elif to not in self._started_at:
            self._waiting[to].append((sender, message))
        else:
            self._take(sender, to, message)

    def _take(self, sender: PartyId, to: PartyId, message: Any) -> None:
        if self.trace is not None:
            self._note(f"{self.label(sender)} -> {self.label(to)}  {type(message).KIND}{_place(message)}")
        if isinstance(message, Certificate):
            for checker in self.checkers:
                self._complain(checker, checker.certificate(message))
        for behaviour in self._behaviours.get(to, ()):
            behaviour.hear(sender, message)
        if self._coded:
            try:
                message = codec.decode(BY_KIND[type(message).KIND], codec.encode(message))
            except Exception as error:
                if sender not in self._behaviours:
                    self.violations.append(f"codec: {type(message).__name__}: {error}")
                return
        self._step(to, sender, message)

    # -- machines ------------------------------------------------------------------------------------

    def _start(self, party: PartyId) -> None:
        if party in self._started_at or party in self._crashed:
            return
        self._started_at[party] = self.now
        machine = self.machines[party]
        for behaviour in self._behaviours.get(party, ()):
            behaviour.begin(machine)
        self._note(f"{self.label(party)} starts")
        self._call(party, lambda: machine.start(self._local(party)))
        for behaviour in self._behaviours.get(party, ()):
            behaviour.begun()
        if self._views.get(party):
            self._tell_view(party)
        waiting, self._waiting[party] = self._waiting[party], deque(maxlen=0)
        for sender, message in waiting:
            self._take(sender, party, message)

    def _step(self, party: PartyId, sender: PartyId, message: object) -> None:
        machine = self.machines[party]
        self._idle[party] = 0
        self._call(party, lambda: machine.receive(self._local(party), sender, message), sender)

    def _expire(self, data: tuple[PartyId, float]) -> None:
        party, moment = data
        machine = self.machines[party]
        if self._timers.get(party) != moment or party in self._crashed:
            return
        self._timers.pop(party)
        self._idle[party] = self._idle.get(party, 0) + 1
        if self._idle[party] > MAX_IDLE_TIMERS:
            self.violations.append(f"ends: {self.label(party)} spins on a deadline in the past")
        self._note(f"{self.label(party)} timer")
        local = max(self._local(party), machine.deadline or 0.0)
        self._call(party, lambda: machine.expire(local))

    def _call(self, party: PartyId, action: Any, sender: PartyId | None = None) -> None:
        bent = party in self._behaviours
        effects: list[Effect] = []
        try:
            effects = list(action())
        except ProtocolError as error:
            self._note(f"{self.label(party)} refuses: {error}")
            if not bent and sender is not None:
                for checker in self.checkers:
                    self._complain(checker, checker.refused(sender, party, error))
        except Exception as error:
            if not bent:
                where = traceback.extract_tb(error.__traceback__)[-1]
                place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
                self.violations.append(f"raised: {self.label(party)} {error!r} at {place}")
        for effect in effects:
            self._carry_out(party, effect)
        self._set_timer(party)

    def _carry_out(self, party: PartyId, effect: Effect) -> None:
        if isinstance(effect, Send | Broadcast):
            receivers = (effect.to,) if isinstance(effect, Send) else effect.to
            for to in receivers:
                message: Any = effect.message
                for behaviour in self._behaviours.get(party, ()):
                    if message is not None:
                        message = behaviour.send(to, message)
                if message is not None:
                    self._post(party, to, message)
        elif isinstance(effect, Publish):
            event = effect.event
            if isinstance(event, events.Opened | events.Aborted):
                self.ended_after[party] = (self.now - self._started_at[party]) * self._drift[party]
                self._note(f"{self.label(party)} ends: {_summary(event)}")
            elif isinstance(event, events.Named):
                self._note(f"{self.label(party)} names {self.label(event.party)}: {event.fault}")
            elif isinstance(event, events.Progress):
                self._note(f"{self.label(party)} stage {event.stage} {event.phase}: {event.detail}")
            if party not in self._behaviours:
                for checker in self.checkers:
                    self._complain(checker, checker.event(party, event))

    def _set_timer(self, party: PartyId) -> None:
        machine = self.machines[party]
        due = machine.deadline
        if due is None or party in self._crashed:
            self._timers.pop(party, None)
            return
        moment = max(self.now, (due - self._offset[party]) / self._drift[party])
        if self._timers.get(party) != moment:
            self._timers[party] = moment
            self._at(moment, "timer", (party, moment))


def _summary(outcome: object) -> str:
    if isinstance(outcome, events.Opened):
        return f"opened {outcome.total.tolist()} over {len(outcome.contributors)} sites"
    if isinstance(outcome, events.Aborted):
        return f"aborted {outcome.code} {outcome.reason} definite={outcome.definite}"
    return "no outcome"


def _place(message: Any) -> str:
    holders: tuple[Any, ...] = (message, getattr(message, "roster", None), getattr(message, "dealing", None))
    for holder in holders:
        if hasattr(holder, "stage"):
            return f" stage {holder.stage}.{getattr(holder, 'generation', 0)}"
    return ""
