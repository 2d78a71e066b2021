"""Sessions of masked vectors over a tree whose committees share nobody, with a script.

Adders are parties of their own, so that who leaves a committee, and who loses the vectors, is told apart.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from protocols.masking.parameters import B16_N10
from protocols.sessions import events
from protocols.sessions.plan import Bulk
from protocols.sessions.plan_rules import check
from tests.scenarios.bulk_pump import LAYOUT, LENGTH, BulkPump
from tests.scenarios.generations_pump import Scripted, make_tree


class MaskedTreePump(Scripted, BulkPump):
    """Vectors arrive whole; dealings as the script says."""


def make_masked(to_all=False, flat=False, **options):
    """A pump over such a tree, and its parts: three devices a cluster. `flat`: its cluster is the root."""
    options = {"devices": 3, "collect_ms": 40_000, "total_ms": 90_000} | options
    plan, keys, parts = make_tree(**options)
    if flat:
        merged = replace(plan.stages[-1], dealers=plan.stages[0].dealers, children=())
        plan = replace(plan, stages=(merged,))
    job = replace(plan.job, min_sites=3)
    plan = replace(plan, job=job, length=B16_N10.dealt_length, bulk=Bulk(B16_N10.name, LENGTH, to_all))
    check(plan)
    return MaskedTreePump(plan, keys), parts


def devices_of(parts):
    """All of them."""
    return {device for name, group in parts.items() if name.startswith("devices") for device in group}


def check_masked_total(pump, parts, missing=()):
    """The initiator's total, unmasked, is that of everybody but `missing`; gives the opening."""
    sums, weight, opened = pump.unmasked(pump.plan.initiator)
    assert set(opened.contributors) == devices_of(parts) - set(missing)
    assert np.array_equal(sums, pump.expected(opened))
    assert weight == len(opened.contributors)
    return opened


def lost(pump):
    """Whether the initiator was told that there is no total."""
    return [e.reason for e in pump.events[pump.plan.initiator] if isinstance(e, events.TotalLost)]


def spoil(pump, liar):
    """From now on this adder stores another vector than the sum, one value too high."""
    store = pump.stores[liar]
    honest_add = store.add

    def add(parts):
        packed = store.packed[honest_add(parts)].copy()
        packed[4 * 11 :][:4].view("<u4")[0] += np.uint32(1 << LAYOUT.parameters.scale_bits)
        return store.put(packed)

    store.add = add
