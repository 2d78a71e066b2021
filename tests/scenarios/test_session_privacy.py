"""What t members of every committee, all adders and some devices see together fixes nothing but the total.

With the challenges held fixed a session is a linear map from the secrets and the randomness of the honest
to all that the corrupt ever see. The map is written down column by column, by running the real machines
on unit vectors; a secret can be computed from the view if, and only if, it is in the span of its rows.
"""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.arithmetic.field import P
from protocols.identifiers import Digest
from protocols.sessions import assembly, dealing, events, handover, resharing
from protocols.sessions import plan as plan_module
from protocols.sessions.messages import Certificate, CheckShares, Deal, OpeningShare, Result
from protocols.sessions.plan import Job, Plan, Query, Seat, Stage
from protocols.sessions.plan_rules import check
from protocols.wire import sealing
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan, seed_of
from tools.sim.stand_ins import fast_crypto

KEYS = make_keys(24)


def disjoint_plan(size, devices):
    """Two clusters and a root without a party in common; returns it with its groups of key indices."""
    n, t = size
    numbers = iter(range(len(KEYS)))
    groups = {name: [next(numbers) for _ in range(count)] for name, count in (
        ("devices 0", devices), ("devices 1", devices), ("members 0", n), ("members 1", n), ("root", n),
        ("adders", 3), ("spare", 1))}  # fmt: skip

    def seats(name):
        return tuple(Seat(KEYS[i].party, KEYS[i].sealing_key) for i in groups[name])

    def stage(label, members, adder, dealers, children, spare=()):
        parties = tuple(sorted(KEYS[i].party for i in dealers))
        return Stage(label, seats(members), t, (KEYS[adder].party,), spare, parties, children)

    adders = groups["adders"]
    stages = (
        stage("a", "members 0", adders[0], groups["devices 0"], ()),
        stage("b", "members 1", adders[1], groups["devices 1"], ()),
        stage("root", "root", adders[2], (), (0, 1), seats("spare")),
    )
    job = Job("data", (Query("sum", "x", ()),), 2, "test")
    initiator = KEYS[groups["devices 0"][0]].party
    plan = Plan(
        Digest(bytes(32)), 1, b"p", initiator, job, 1, plan_module.hops_needed(2), 5000, 20000, stages, ()
    )
    check(plan)
    return plan, groups


class Linear:
    """Runs sessions in which every random element of the honest is a coordinate of one long vector."""

    def __init__(self, patch, plan, corrupt, leaver=None):
        self.plan, self.corrupt, self.leaver = plan, corrupt, leaver
        self.indices = [i for i, k in enumerate(KEYS) if k.party in plan.parties]
        self.secret_of = {KEYS[i].sealing_secret: KEYS[i].party for i in self.indices}
        self.owner = {seed_of(i): KEYS[i].party for i in self.indices}
        self.places: dict[object, int] = {}
        patch.setattr(dealing, "Xof", self._xof)
        patch.setattr(dealing, "_challenge", lambda a, who, *_: _fixed(a.stage, a.generation, who))
        patch.setattr(resharing, "_challenge", lambda roster: _fixed("check"))
        honest_unseal = sealing.unseal

        def unseal(secret, sealed, context):
            plaintext = honest_unseal(secret, sealed, context)
            self._see(self.secret_of[secret], np.frombuffer(plaintext, dtype="<u8"))
            return plaintext

        patch.setattr(sealing, "unseal", unseal)

    def _xof(self, seed, label, *context):
        """Zeros, but one at the coordinate that is on; what the corrupt draw is known to them."""
        linear, party = self, self.owner[seed]

        class Drawn:
            count = 0

            def elements(self, shape):
                values = np.zeros(shape, dtype=np.uint64)
                if party in linear.corrupt:
                    return values
                flat = values.reshape(-1)
                place = (party, label, context[1:3], self.count)
                Drawn.count += 1
                start = linear.places.setdefault(place, linear._reserve(flat.size, place))
                if start <= linear.on < start + flat.size:
                    flat[linear.on - start] = 1
                return values

        return Drawn()

    def _reserve(self, size, place):
        if place in self.places:
            return self.places[place]
        start = self.unknowns
        self.unknowns += size
        return start

    def _see(self, party, values):
        if party in self.corrupt:
            self.view.append(np.asarray(values, dtype=np.uint64))

    def _hook(self, sender, to, message):
        if sender in self.corrupt or to in self.corrupt:
            if isinstance(message, Deal):
                self.view.append(message.dealing.response)
            if isinstance(message, CheckShares | OpeningShare):
                self.view.append(message.values)
            if isinstance(message, Result):
                self.view.append(message.total)
        is_root = isinstance(message, Certificate) and message.roster.stage == self.plan.root
        if is_root and self.leaver is not None and self.leaver not in self.pump.dead:
            self.pump.kill(self.leaver)

    def run(self, on, first):
        """The view if coordinate `on` is 1 and all others are 0; the honest inputs are the first ones."""
        self.on, self.view, self.unknowns = on, [], first
        if self.places:
            self.unknowns = self.total
        honest = [dealer for dealer in self.plan.dealers if dealer not in self.corrupt]
        inputs = {dealer: np.zeros(1, dtype=np.uint64) for dealer in self.plan.dealers}
        if on < first and on >= 0:
            inputs[honest[on]][0] = 1
        keys = [KEYS[i] for i in self.indices]
        self.pump = Pump(self.plan, keys, inputs, coded=False)
        for i, machine in zip(self.indices, self.pump.parties.values(), strict=True):
            machine._seed = seed_of(i)
        self.pump.hooks.append(self._hook)
        self.pump.start()
        self.pump.run()
        assert all(isinstance(o, events.Opened) for o in self.pump.outcomes().values()), self.pump.errors
        self.total = self.unknowns
        return np.concatenate(self.view)

    def matrix(self):
        """View elements by unknowns: (rows, columns), and the honest devices in column order."""
        honest = [dealer for dealer in self.plan.dealers if dealer not in self.corrupt]
        zero = self.run(-1, len(honest))
        assert not zero.any(), "the map is not linear: something constant is in the view"
        columns = [self.run(on, len(honest)) for on in range(self.total)]
        return np.stack(columns, axis=1), honest


def _fixed(*what):
    return dealing.consistency.challenge(repr(what).encode())


def echelon(matrix):
    """Reduced rows and their pivot columns, over the field."""
    rows, pivots, done = matrix.copy(), [], 0
    for column in range(rows.shape[1]):
        candidates = np.nonzero(rows[done:, column])[0]
        if candidates.size == 0:
            continue
        pick = done + int(candidates[0])
        rows[[done, pick]] = rows[[pick, done]]
        inverse = np.uint64(pow(int(rows[done, column]), -1, P))
        rows[done] = field.mul(rows[done], np.full(rows.shape[1], inverse))
        others = np.nonzero(rows[:, column])[0]
        others = others[others != done]
        factors = rows[others, column].copy()
        rows[others] = field.sub(rows[others], field.mul(factors[:, None], rows[done][None, :]))
        pivots.append(column)
        done += 1
    return rows[:done], pivots


def in_span(basis, target):
    rows, pivots = basis
    rest = target.copy()
    for row, pivot in zip(rows, pivots, strict=True):
        if rest[pivot]:
            rest = field.sub(rest, field.mul(row, np.full(row.size, rest[pivot])))
    return not rest.any()


def selector(count, *chosen):
    row = np.zeros(count, dtype=np.uint64)
    row[list(chosen)] = 1
    return row


def analyse(size, corrupt_members, leaver=None):
    """What the corrupt can compute, with as few handovers provided for as happen: short vectors."""
    with pytest.MonkeyPatch.context() as patch:
        for place in (plan_module, assembly, handover):
            patch.setattr(place, "MAX_HANDOVERS", 0 if leaver is None else 1)
        return _analyse(size, corrupt_members, leaver)


def _analyse(size, corrupt_members, leaver):
    plan, groups = disjoint_plan(size, devices=2)
    chosen = (
        [groups[group][seat] for group, seat in corrupt_members] + groups["adders"] + [groups["devices 1"][0]]
    )
    with fast_crypto(), pytest.MonkeyPatch.context() as patch:
        linear = Linear(
            patch,
            plan,
            {KEYS[i].party for i in chosen},
            None if leaver is None else KEYS[groups["root"][leaver]].party,
        )
        matrix, honest = linear.matrix()
    basis = echelon(matrix)
    width = matrix.shape[1]
    first = [honest.index(KEYS[i].party) for i in groups["devices 0"]]
    second = [honest.index(KEYS[i].party) for i in groups["devices 1"] if KEYS[i].party in honest]
    return {
        "total": in_span(basis, selector(width, *first, *second)),
        "devices": [in_span(basis, selector(width, i)) for i in (*first, *second)],
        "cluster": in_span(basis, selector(width, *first)),
    }


ONE_EACH = [("members 0", 0), ("members 1", 2), ("root", 1)]


def test_t_members_of_each_committee_and_all_adders_learn_the_total_only():
    learned = analyse((3, 1), ONE_EACH)
    assert learned == {"total": True, "devices": [False, False, False], "cluster": False}


def test_one_member_more_learns_more():
    """The test can fail: t+1 members of a cluster do see its devices."""
    learned = analyse((3, 1), [*ONE_EACH, ("members 0", 1)])
    assert learned == {"total": True, "devices": [True, True, True], "cluster": True}


@pytest.mark.long
@pytest.mark.parametrize(
    "corrupt", [ONE_EACH, [("members 0", 3), ("members 1", 1), ("root", 3), ("spare", 0)]]
)
def test_across_a_handover_t_of_the_old_and_t_of_the_new_generation_learn_the_total_only(corrupt):
    """The corrupt hold a seat of the old generation and the substitute's seat of the new one."""
    learned = analyse((4, 1), corrupt, leaver=2)
    assert learned == {"total": True, "devices": [False, False, False], "cluster": False}


def test_no_value_stands_in_clear_in_any_message():
    """Byte by byte over all that is sent, with the real primitives: inputs, cluster sums and shares."""
    keys = KEYS[:8]
    plan = make_plan(keys, size=(4, 1), clusters=2, length=4)
    inputs = make_inputs(plan, salt=0x0123_4567_89AB)
    pump = Pump(plan, keys, inputs)
    shares = []
    honest_unseal = sealing.unseal

    def unseal(secret, sealed, context):
        plaintext = honest_unseal(secret, sealed, context)
        shares.append(plaintext)
        return plaintext

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "unseal", unseal)
        pump.start()
        pump.run()
    total = field.total(np.stack(list(inputs.values())))
    assert all(np.array_equal(o.total, total) for o in pump.outcomes().values())
    secret = {int(v) for vector in inputs.values() for v in vector}
    for stage in plan.stages[:2]:
        secret |= {int(v) for v in field.total(np.stack([inputs[d] for d in stage.dealers]))}
    needles = [value.to_bytes(8, order) for value in secret for order in ("little", "big")]
    needles += [share[i : i + 8] for share in shares for i in range(0, 32, 8)]
    wire = [(message, data) for _, _, message, data in pump.wire]
    assert not [type(m).__name__ for m, data in wire for needle in needles if needle in data]
    announced = total.astype("<u8").tobytes()
    assert {type(m) for m, data in wire if announced in data} == {Result}
