"""The toy network with a script: things that happen at a time, and dealings that arrive late.

What is held back is lost if its sender is gone by then.
"""

from __future__ import annotations

from protocols.sessions.messages import Deal
from protocols.sessions.plan import Seat, Stage
from protocols.sessions.plan_rules import check
from tests.scenarios.crash_pump import CrashPump
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan, replace


class Scripted:
    """Mixed into a pump: `at` a time an action; dealings `late`, or to a stage, take until then."""

    late_until = 0.0
    late = ()
    late_stage = None

    def at(self, moment, action):
        self.script = sorted([*getattr(self, "script", []), (moment, action)], key=lambda item: item[0])

    def hold_back(self, dealers, until):
        """These dealers' dealings take until then."""
        self.late, self.late_until, self.kept = frozenset(dealers), until, []
        self.at(until, self._release)

    def hold_up(self, stage, until):
        """All dealings to this stage take until then."""
        self.late_stage, self.late_until, self.kept = stage, until, []
        self.at(until, self._release)

    def _release(self):
        self.queue.extend(self.kept)

    def _post(self, sender, to, message):
        late = isinstance(message, Deal) and (
            message.dealing.dealer in self.late or message.dealing.stage == self.late_stage
        )
        if late and self.now < self.late_until:
            self.kept.append((sender, to, message))
        else:
            super()._post(sender, to, message)

    def run(self, until=60.0):
        for moment, action in getattr(self, "script", []):
            super().run(moment - self.now - 1e-6)
            self.now = max(self.now, moment)
            action()
        super().run(until)


class ScriptedPump(Scripted, Pump):
    """Parties that do not come back."""


class ScriptedCrashPump(Scripted, CrashPump):
    """Parties with disks."""


def make_tree(size=(4, 1), clusters=2, devices=4, spare=None, middle=False, keys=None, **options):
    """A tree whose committees share no members: (plan, keys, parties by part).

    Parts: "device c", "leaf c", "spare c" of each cluster, then "middle", "root" and theirs; adders apart.
    """
    n, t = size
    spare = n if spare is None else spare
    names = [f"leaf {c}" for c in range(clusters)] + (["middle"] if middle else []) + ["root"]
    total = 2 + len(names) * (3 + n + spare) + clusters * devices
    pool = iter(keys or make_keys(total))
    take = lambda count: [next(pool) for _ in range(count)]  # noqa: E731
    parts = {"initiator": take(1)}
    stages = []
    for place, name in enumerate(names):
        seats, others, adders = take(n), take(min(spare, 8)), take(3)
        parts |= {name: seats, f"spare {name}": others, f"adders {name}": adders}
        dealers = take(devices) if place < clusters else []
        parts[f"devices {place}"] = dealers
        children = () if place < clusters else tuple(range(clusters)) if place == clusters else (clusters,)
        ranked = tuple(sorted(ids(dealers)))
        blueprint = (name, seats_of(seats), t, ids(adders), seats_of(others), ranked, children)
        stages.append(Stage(*blueprint))
    base = make_plan(make_keys(2 * n), size=size, length=2)
    plan = replace(base, initiator=parts["initiator"][0].party, stages=tuple(stages), **options)
    check(plan)
    everybody = [key for group in parts.values() for key in group]
    return plan, everybody, {name: ids(group) for name, group in parts.items()}


def seats_of(keys):
    return tuple(Seat(key.party, key.sealing_key) for key in keys)


def ids(keys):
    return tuple(key.party for key in keys)


def make_session(pump_type=ScriptedPump, **options):
    """A pump over such a tree, its inputs, and the parts."""
    fault = {name: options.pop(name) for name in ("crashes", "order", "tamper", "noticed") if name in options}
    plan, keys, parts = make_tree(**options)
    inputs = make_inputs(plan)
    return pump_type(plan, keys, inputs, coded=False, **fault), inputs, parts
