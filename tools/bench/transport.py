"""Secure and plain rounds in turn over real processes and links on this machine: median wall clock of each.

Both kinds run in the same mesh, over the same links, pieces, digests and spools. Before the processes are
forked, the seams where a node asks its owner's data and where it makes its session are replaced: a job whose
purpose is PLAIN runs `PlainParty` with float32 vectors. The total is compared where it is opened and not
carried over the local API as text, which training does not do either.

Plain vectors differ from device to device in some last bits: equal ones would have one name, and a name that
an adder holds already is not sent again.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mesh.api.shapes import JobSpec, QuerySpec
from mesh.data.policy import ALLOW
from mesh.data.room import DataRoom
from mesh.runtime import sessions
from mesh.runtime.demo.local_mesh import LocalMesh
from mesh.runtime.vectors import masked
from mesh.runtime.vectors.store import VectorStore
from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import DeadlinePassed, MeshError, UnattributableFault
from protocols.identifiers import Digest
from protocols.masking.quantise import Quantiser
from protocols.sessions.durable import DurableParty
from protocols.sessions.plan import Job, Plan
from protocols.statistics import registry
from protocols.statistics.statistic import Answer
from tools.bench import watching
from tools.bench.plain import PlainParty, PlainStore, raw_layout

PLAIN, SECURE = "benchmark, plain", "benchmark, secure"
SETTINGS = {"session.collect_s": 30.0, "session.total_s": 60.0}
BITS = 16
QUANTISER = Quantiser(1.0, BITS, 1)
EXACT = 1.0

BLOCK = 1 << 16
REST_S = 2.0

Integers = npt.NDArray[np.int32]

_values: dict[int, npt.NDArray[np.float32]] = {}
_sums: dict[int, Integers] = {}
"""Made before the fork, so that all peers share their pages."""


def measure(
    devices: int, length: int, rounds: int, *, warm: bool = True, mbit: float | None = None
) -> dict[str, object]:
    """Wall clock of `rounds` secure and plain rounds in turn, after one of each to warm up.

    `mbit`: what each node can send a second; None for what loopback and the processors give.
    """
    if mbit:
        watching.throttle(mbit)
    _values[length] = (np.random.default_rng(1).standard_normal(length) * 0.1).astype(np.float32)
    _sums[length] = _quantised(length).astype(np.int32) * devices
    _patch()
    walls: dict[str, list[float]] = {SECURE: [], PLAIN: []}
    failed: list[str] = []
    watched: dict[str, object] = {}
    names = [f"p{i + 1}" for i in range(devices)]
    with (
        tempfile.TemporaryDirectory(prefix="coppice-bench-") as folder,
        LocalMesh(Path(folder), names, SETTINGS) as mesh,
    ):
        watching.install(Path(folder))
        mesh.start()
        mesh.wait_formed(60.0)
        began = time.monotonic()
        time.sleep(REST_S)
        watched |= watching.describe(
            "transport_at_rest", watching.delays(Path(folder), began, time.monotonic())
        )
        for index in range(rounds + warm):
            for purpose in walls:
                memory, began = watching.Memory(mesh), time.monotonic()
                try:
                    wall = _round(mesh, length, devices, purpose)
                except UnattributableFault:
                    raise
                except MeshError as error:
                    failed.append(f"{purpose}: {error}")
                    continue
                if index >= warm:
                    walls[purpose].append(wall)
                found = watching.delays(Path(folder), began, time.monotonic())
                kind = "transport_" + purpose.rpartition(" ")[2]
                watched |= watching.describe(kind, found)
                watched[f"{kind}_memory_mb"] = round(memory.grown(), 1)
    if not all(walls.values()):
        raise DeadlinePassed(f"no round of each kind came through: {failed}", definite=True)
    secure, plain = statistics.median(walls[SECURE]), statistics.median(walls[PLAIN])
    return {
        "transport_devices": devices,
        "transport_length": length,
        "transport_rounds": rounds,
        "transport_uplink_mbit": mbit,
        "transport_secure_s": secure,
        "transport_plain_s": plain,
        "transport_failed_rounds": failed,
        "transport_secure_all_s": [round(wall, 3) for wall in walls[SECURE]],
        "transport_plain_all_s": [round(wall, 3) for wall in walls[PLAIN]],
        "transport_secure_over_plain": secure / plain,
        **watched,
    }


def _quantised(length: int) -> Integers:
    """Every device's vector on the grid; the noise of rounding is the same everywhere."""
    return QUANTISER.quantise(_values[length], 1, Xof(bytes(32), "benchmark rounding")).values


def _elements(length: int) -> Elements:
    """The same as a node makes them of an update."""
    whole, elements = _quantised(length), np.empty(length + 1, dtype=np.uint64)
    elements[0] = 1
    for start in range(0, length, BLOCK):
        block = whole[start : start + BLOCK].astype(np.int64)
        elements[start + 1 : start + 1 + block.size] = field.from_signed(block)
    return elements


def _own(length: int) -> npt.NDArray[np.float32]:
    """This process's plain vector, off by less than 8e-6 of a value from what all have in common."""
    values = _values[length].copy()
    bits = values[:5].view(np.int32)
    bits ^= np.array([os.getpid() >> shift & 63 for shift in range(0, 30, 6)], dtype=np.int32)[: bits.size]
    return values


def _is_exact(length: int, opened: Elements) -> bool:
    blocks = range(0, length, BLOCK)
    return all(
        np.array_equal(field.to_signed(opened[at + 1 : at + 1 + BLOCK]), _sums[length][at : at + BLOCK])
        for at in blocks
    )


def _round(mesh: LocalMesh, length: int, devices: int, purpose: str) -> float:
    client = mesh.founder.client
    query = QuerySpec("update", "*", (float(length), 1.0, float(BITS), 1.0, 0.0))
    began = time.perf_counter()
    job = client.submit(JobSpec("benchmark", (query,), min_sites=devices, purpose=purpose))
    for _ in client.watch(job):
        pass
    wall = time.perf_counter() - began
    result = client.result(job)
    if result.sites != devices or result.value != EXACT:
        raise UnattributableFault(f"a {purpose} round did not give the sum of {devices} devices")
    return wall


def _patch() -> None:
    """In this process, from which all peers are forked."""
    open_store, mask, read, party = masked.open_store, masked.mask, masked.read, DurableParty
    contribution, decode_job = DataRoom.contribution, registry.decode_job

    def contribute(room: DataRoom, plan: Plan, *rest: Any) -> tuple[Elements, int]:
        if not plan.job.purpose.startswith("benchmark"):
            return contribution(room, plan, *rest)
        length = int(plan.job.queries[0].parameters[0])
        return (field.as_elements([length]) if plan.job.purpose == PLAIN else _elements(length)), 1

    def make_store(spool: Path, plan: Plan) -> VectorStore | None:
        if plan.job.purpose != PLAIN or plan.bulk is None:
            return open_store(spool, plan)
        most = len(plan.dealers) + 2 * len(plan.stages) + 2
        return PlainStore(spool, plan.session, raw_layout(plan.bulk.length), most)

    def keep(plan: Plan, store: VectorStore, elements: Elements, seed: bytes) -> masked.Masked:
        if not isinstance(store, PlainStore):
            return mask(plan, store, elements, seed)
        return masked.Masked(elements[:1], store.keep(store.pieces(_own(int(elements[0])))))

    def total(plan: Plan, store: VectorStore, opened: Elements, count: int, name: Digest) -> Elements:
        if not isinstance(store, PlainStore):
            return read(plan, store, opened, count, name)
        return store.read(name)  # type: ignore[return-value]  # float32: `decode` reads it

    def decode(job: Job, opened: Elements, sites: int) -> tuple[Answer, ...]:
        if not job.purpose.startswith("benchmark"):
            return decode_job(job, opened, sites)
        length = int(job.queries[0].parameters[0])
        if job.purpose == PLAIN:
            exact = bool(np.allclose(opened, sites * _values[length], rtol=1e-5))
        else:
            exact = _is_exact(length, opened)
        return (Answer("update", "*", EXACT if exact else 0.0, sites, sites),)

    def make_party(plan: Plan, keys: Any, seed: bytes, vector: Any, refusal: str, name: Digest) -> Any:
        if plan.job.purpose == PLAIN and plan.bulk is not None:
            return PlainParty(plan, keys.party, name)
        return party(plan, keys, seed, vector, refusal, name)

    for owner, name, value in (
        (DataRoom, "consider", lambda *_, **__: ALLOW),
        (DataRoom, "authorize", lambda *_, **__: ALLOW),
        (DataRoom, "contribution", contribute),
        (masked, "open_store", make_store),
        (masked, "mask", keep),
        (masked, "read", total),
        (sessions, "DurableParty", make_party),
        (registry, "decode_job", decode),
    ):
        setattr(owner, name, value)
