"""A job's vector under a mask: when, how it is made here, and how the masked total is read.

Only a job with one `update` query can be masked: its elements are the site's weight and small integers.
Dealt directly it is the same vector of field elements; masked, the integers travel as one message and what
is dealt is the mask's key, the check and the weight. Reading turns the masked total back into the elements
that dealing directly would have opened, so that whoever decodes a job never knows the difference.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mesh.overlay.planner import BULK_SIZES
from mesh.runtime.vectors.store import VectorStore
from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse, MalformedMessage
from protocols.identifiers import Digest, SessionId
from protocols.masking import one_shot
from protocols.masking.layout import SPAN_COORDINATES, Layout
from protocols.masking.parameters import TABLE, Choice, choose
from protocols.sessions.plan import Bulk, Job, Plan
from protocols.statistics import registry as statistics
from protocols.statistics.update import width

BYTES_A_SECOND = 1_000_000
"""The slowest link for which a plan leaves time to send a vector."""
ADDER_BYTES_A_SECOND = 12_500_000
"""The same of an adder, into which all vectors of a leaf go: 100 Mbit/s."""


@dataclass(frozen=True, slots=True)
class Masked:
    """What a site deals, and the name of its masked vector in the store."""

    dealt: Elements
    name: Digest


def choice_for(job: Job, devices: int, seats: int) -> Choice | None:
    """How the job's vector is best sent; None if it cannot be masked. Raises LocalMisuse if too long."""
    if len(job.queries) != 1 or job.queries[0].statistic != "update":
        return None
    parameters = job.queries[0].parameters
    return choose(int(parameters[0]), width(parameters), devices, seats=seats)


def bulk_of(job: Job, choice: Choice) -> tuple[Bulk, int] | None:
    """The plan's bulk part and its length, or None to deal directly.

    A round of training gives every device the masked total: it must check the next model by itself. The total
    of any other job goes to whoever asked, so that the rest need neither fetch nor unmask it.
    """
    if choice.parameters is None:
        return None
    length, every_device = statistics.job_length(job) - 1, bool(job.inputs)
    return Bulk(choice.parameters.name, length, every_device), choice.parameters.dealt_length


def extra_ms(bulk: Bulk, devices: int = 1) -> int:
    """Time for one vector over a slow link, and for those of a whole leaf into their adder's."""
    size, leaf = layout_of(bulk).packed_bytes, min(devices, BULK_SIZES.max)
    return size * 1000 // BYTES_A_SECOND + leaf * size * 1000 // ADDER_BYTES_A_SECOND


def layout_of(bulk: Bulk) -> Layout:
    """Where each value lies. The name was checked with the plan."""
    return Layout(next(row for row in TABLE if row.name == bulk.parameters), bulk.length)


def check_fits(plan: Plan, bulk: Bulk) -> None:
    """Raise MalformedMessage unless the plan's mask is one for its job."""
    choice = choice_for(plan.job, len(plan.dealers), plan.stages[0].size)
    if choice is None or bulk.length != statistics.job_length(plan.job) - 1:
        raise MalformedMessage("a mask is planned for a job that is no single long vector")
    if width(plan.job.queries[0].parameters) > layout_of(bulk).parameters.value_bits:
        raise MalformedMessage("the job's values are wider than the mask takes")


def open_store(spool: Path, plan: Plan) -> VectorStore | None:
    """The session's store, or None if it has no masked vectors."""
    if plan.bulk is None:
        return None
    most = len(plan.dealers) + sum(len(stage.adders) + 1 for stage in plan.stages) + len(plan.parties)
    return VectorStore(spool, plan.session, layout_of(plan.bulk), most)


def reopen_store(spool: Path, plan: Plan) -> VectorStore | None:
    """The store as a former life of this node left it."""
    store = open_store(spool, plan)
    if store is not None:
        store.reopen()
    return store


def drop_store(spool: Path, session: SessionId) -> None:
    """Remove what a former life of this node left of a session that it does not go on with."""
    shutil.rmtree(spool / session.hex(), ignore_errors=True)


def mask(plan: Plan, store: VectorStore, elements: Elements, seed: bytes) -> Masked:
    """Mask a job's vector, (job_length,) elements, into the store. `seed`: 32 secret bytes, used once."""
    layout = store.layout
    weight = int(elements[0])
    values = _small(elements[1:])
    key = one_shot.MaskKey(layout.parameters, Xof(seed, "mask key", plan.session))
    noise = Xof(seed, "mask noise", plan.session)
    name = store.keep(one_shot.mask_spans(layout, plan.session, key, values, noise))
    return Masked(one_shot.dealing(layout, plan.session, key, values, weight), name)


def _small(elements: Elements) -> npt.NDArray[np.int32]:
    """Signed integers of 24 bits at most, without copies of the whole vector on the way."""
    values = np.empty(elements.size, dtype=np.int32)
    for start in range(0, elements.size, SPAN_COORDINATES):
        block = field.to_signed(elements[start : start + SPAN_COORDINATES])
        if block.size and not -(1 << 31) <= int(block.min()) <= int(block.max()) < 1 << 31:
            raise LocalMisuse("a value of a masked vector is wider than its mask takes")
        values[start : start + block.size] = block
    return values


def read(plan: Plan, store: VectorStore, opened: Elements, contributors: int, name: Digest) -> Elements:
    """The elements that dealing directly would have opened, (job_length,).

    Raises UnattributableFault when the masked total is not the certified roster's.
    """
    unmasker = one_shot.Unmasker(store.layout, plan.session, opened, contributors)
    result: npt.NDArray[np.uint64] = np.empty(store.layout.length + 1, dtype=np.uint64)
    start = 1
    for sums in _spans(unmasker, store, name):
        result[start : start + sums.size] = field.from_signed(sums)
        start += sums.size
    result[0] = unmasker.finish()
    return result


def _spans(unmasker: one_shot.Unmasker, store: VectorStore, name: Digest) -> Iterator[npt.NDArray[np.int64]]:
    for total in store.totals((name,)):
        yield unmasker.span(total)
