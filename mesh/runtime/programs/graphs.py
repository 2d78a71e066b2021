"""Running a graph of one's own over the committee: compiled models, benchmarks.

The graph is published as a public input and named in the job by its digest, which is what its owners approve
(policy: `allow = ["program"]` and `programs = [digest]`). We may deal values ourselves; other owners deal the
columns that the names of their inputs say (`protocols.programs.split`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy.typing as npt
import trio

from mesh.overlay.program_planner import plan_program
from mesh.runtime.node import Node
from protocols.circuits.graph import Graph
from protocols.errors import SessionAborted
from protocols.identifiers import PartyId
from protocols.programs import split
from protocols.programs.party import Finished
from protocols.programs.plan import ProgramPlan
from protocols.programs.recipient import ProgramOpened
from protocols.sessions import events
from protocols.sessions.plan import Job, Query

SPARE_S = 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What to run. `owners`: everybody who deals; input names count their places when sorted by party."""

    graph: Graph
    owners: tuple[PartyId, ...]
    values: Mapping[str, npt.ArrayLike] | None = None
    """Ours, by input name, if we are an owner and do not take them from our data room."""
    dataset: str = ""
    columns: tuple[str, ...] = ()
    """Columns that other owners are asked for."""
    purpose: str = ""
    mode: str = "P"
    timeout_s: float = 120.0


async def evaluate(node: Node, asked: Asked) -> ProgramOpened:
    """The outputs that are for us. Raises Refused, SessionAborted, LocalMisuse for values out of range."""
    owners: Sequence[PartyId] = sorted(set(asked.owners))
    blob = await trio.to_thread.run_sync(asked.graph.encoded)
    name = node.inputs.publish(blob)
    queries = tuple(Query("program", column, ()) for column in (asked.columns or ("",)))
    job = Job(asked.dataset, queries, 2, asked.purpose, (name,))
    limits = replace(node.programs.limits, total_ms=int(asked.timeout_s * 1000))
    picture = node.picture()
    plan = plan_program(
        picture.view, picture.record, job, owners, nonce=os.urandom(32), limits=limits, mode=asked.mode
    )
    values = None
    if asked.values is not None:
        place, ours = plan.owners.index(node.me), asked.values
        encode = split.encoded_program
        values = (await trio.to_thread.run_sync(encode, asked.graph, place, ours), 0)
    over = trio.Event()
    found: list[ProgramOpened | Finished | events.Aborted] = []

    def listen(of: ProgramPlan, event: object) -> None:
        if of.session == plan.session and isinstance(event, ProgramOpened | Finished | events.Aborted):
            found.append(event)
            over.set()

    node.programs.listeners.append(listen)
    try:
        node.programs.begin(plan, asked.graph, values)
        with trio.move_on_after(asked.timeout_s + SPARE_S):
            await over.wait()
    finally:
        node.programs.listeners.remove(listen)
    outcome = (
        found[0] if found else events.Aborted("C-303", "the session did not end in time", definite=False)
    )
    if isinstance(outcome, ProgramOpened):
        return outcome
    error = SessionAborted(outcome.reason or "the outputs went to others", definite=False)
    error.code = outcome.code or error.code
    raise error
