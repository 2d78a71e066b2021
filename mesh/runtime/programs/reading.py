"""Programs that others ask our data for: who asked, and what the graph behind a digest does.

An owner allows a program by its digest, so it must be able to read what that digest stands for before it
does: the graph is held here or fetched from whoever asked, checked against the digest, and told as inputs
with ranges and owners, operations, outputs with recipients, and the cost for the committee drawn now.

Invariant: a graph is only read; what is beyond this node's limits is not laid out; at most MOST_ASKED
questions are kept, in memory, the oldest go first.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace

import trio

from mesh.api.shapes import (
    Alert,
    ProgramAsked,
    ProgramCost,
    ProgramInfo,
    ProgramInput,
    ProgramOperation,
    ProgramOutput,
)
from mesh.data.policy import Decision, Policy
from mesh.data.room import DataRoom
from mesh.overlay.sortition import committee_size
from mesh.overlay.view import View
from mesh.runtime.jobs.inputs import Inputs
from mesh.runtime.jobs.inquiry import Inquiry
from protocols.circuits import graph as graphs
from protocols.circuits.cost import LAN, WAN, cost
from protocols.circuits.graph import Graph, Node
from protocols.circuits.lower import lower
from protocols.engine.committee import whole
from protocols.errors import LocalMisuse, MeshError
from protocols.identifiers import Digest, PartyId
from protocols.programs import sizes
from protocols.programs.plan import Limits

MOST_ASKED = 64
MOST_STEPS = 1000
SHORTEST = 8
"""Hexadecimal digits by which a program may be named."""
DIVIDES = frozenset({"reciprocal", "rsqrt", "log"})


class Asked:
    """The latest questions of others for programs over our data, by program and requester."""

    def __init__(self, room: DataRoom) -> None:
        self._room = room
        self._found: OrderedDict[tuple[str, PartyId, str], ProgramAsked] = OrderedDict()

    async def note(self, inquiry: Inquiry, requester: PartyId, name: str, decision: Decision) -> None:
        """Keep a question that names a program over a data set that we have."""
        job = inquiry.job
        if not job.inputs or job.queries[0].statistic != "program" or decision.rule == "dataset":
            return
        key = job.inputs[0].hex(), requester, job.dataset
        fix = "" if decision.allowed else await trio.to_thread.run_sync(self._allowing, job.dataset, key[0])
        columns = tuple(query.column for query in job.queries)
        answer = decision.sentence()
        self._found.pop(key, None)
        self._found[key] = ProgramAsked(
            key[0], name, job.dataset, columns, job.purpose, time.time(), decision.allowed, answer, fix
        )
        while len(self._found) > MOST_ASKED:
            self._found.popitem(last=False)

    def all(self, digest: str = "") -> tuple[ProgramAsked, ...]:
        """Newest first; of programs whose digest begins so."""
        return tuple(one for one in reversed(self._found.values()) if one.digest.startswith(digest))

    def requester(self, digest: str) -> PartyId | None:
        """Who asked last for a program of this full digest."""
        return next((party for found, party, _ in reversed(self._found) if found == digest), None)

    def alerts(self) -> tuple[Alert, ...]:
        """One for each program that our policy turned down."""
        return tuple(
            Alert(
                "C-621",
                f"{one.requester} asks to run program {one.digest[:16]} over {one.dataset}: {one.answer}",
                f"read it: coppice programs show {one.digest[:16]}; to allow it: {one.fix}",
            )
            for one in self.all()
            if not one.allowed
        )

    def _allowing(self, dataset: str, digest: str) -> str:
        """The command that adds a program to what our policy allows."""
        try:
            rules = self._room.show_policy(dataset) or Policy(min_sites=2)
        except MeshError:
            rules = Policy(min_sites=2)
        allow = dict.fromkeys((*rules.allow, "program"))
        programs = dict.fromkeys((*rules.programs, digest))
        return (
            f"coppice policy init {dataset} --allow {','.join(allow)} --programs {','.join(programs)}"
            " --min-sites 2 --replace, or the same by hand in its policy file"
        )


async def read(
    digest: str, asked: Asked, inputs: Inputs, view: View, limits: Limits, committee: int
) -> ProgramInfo:
    """The program whose digest begins so. Raises LocalMisuse C-404, ConfigError C-646, MalformedMessage."""
    name = _full(digest.strip().lower(), asked)
    source = asked.requester(name)
    blob = inputs.held(Digest(bytes.fromhex(name)))
    if blob is None:
        if source is None:
            raise _unknown(digest)
        (blob,) = await inputs.obtain((Digest(bytes.fromhex(name)),), source)
    size = committee_size(len(view.alive_gateways), committee)
    graph = await trio.to_thread.run_sync(graphs.decode, blob)
    owners = sorted({view.me, source}) if source is not None else []
    told = await trio.to_thread.run_sync(_told, graph, owners, view.name, size, limits)
    return replace(told, digest=name, bytes=len(blob), asked=asked.all(name))


def _full(digest: str, asked: Asked) -> str:
    if len(digest) == 64 and set(digest) <= set("0123456789abcdef"):
        return digest
    found = {one.digest for one in asked.all(digest)} if len(digest) >= SHORTEST else set()
    if len(found) != 1:
        raise _unknown(digest)
    return found.pop()


def _unknown(digest: str) -> LocalMisuse:
    return LocalMisuse(
        f"no program {digest!r} is here, and nobody who asked for one is known",
        code="C-404",
        fix="see coppice programs list; who wants to run it asks again (coppice models run … --dry-run)",
    )


def _told(
    graph: Graph,
    owners: list[PartyId],
    name: Callable[[PartyId], str],
    size: tuple[int, int],
    limits: Limits,
) -> ProgramInfo:
    nodes = graph.nodes
    numbers: Counter[str] = Counter()
    for node in nodes:
        numbers[node.operation] += math.prod(node.shape)
    times = Counter(node.operation for node in nodes)
    price, beyond = _price(graph, size, limits)
    places = {part.partition(":")[0] for part in graph.inputs}
    known = owners if places <= {"0", "1"} and len(owners) == 2 else []
    return ProgramInfo(
        digest="",
        bytes=0,
        inputs=tuple(_input(nodes[at], known, name) for at in graph.inputs.values()),
        outputs=tuple(
            ProgramOutput(
                one.name, _recipient(one.recipient, name), nodes[one.node].shape, nodes[one.node].kind
            )
            for one in graph.outputs
        ),
        operations=tuple(ProgramOperation(one, times[one], numbers[one]) for one in sorted(times)),
        steps=tuple(_step(at, node) for at, node in enumerate(nodes[:MOST_STEPS])),
        left_out=max(0, len(nodes) - MOST_STEPS),
        cost=price,
        beyond=beyond,
        notes=_notes(graph, bool(known)),
        asked=(),
    )


def _input(node: Node, owners: list[PartyId], name: Callable[[PartyId], str]) -> ProgramInput:
    place, _, columns = node.name.partition(":")
    owner = name(owners[int(place)]) if owners else ""
    return ProgramInput(
        node.name, place, owner, tuple(columns.split("|")), node.shape, node.kind, node.low, node.high
    )


def _recipient(text: str, name: Callable[[PartyId], str]) -> str:
    try:
        return name(PartyId(bytes.fromhex(text))) if len(text) == 64 else text
    except ValueError:
        return text


def _step(at: int, node: Node) -> str:
    shape = " x ".join(map(str, node.shape)) or "one"
    words = [f"%{at} = {node.operation}", *(f"%{operand}" for operand in node.inputs)]
    if node.name:
        words.append(repr(node.name))
    if node.operation in ("input", "clamp"):
        words.append(f"in [{node.low:g}, {node.high:g}]")
    return " ".join(words) + f"   ({shape}, {node.kind})"


def _notes(graph: Graph, guessed: bool) -> tuple[str, ...]:
    found = []
    if guessed:
        found.append("owners are named as for a plan of the one who asks and this node alone")
    divides = sorted({node.operation for node in graph.nodes} & DIVIDES)
    if divides:
        found.append(
            f"{', '.join(divides)} of an argument below its declared range does not fail, which would reveal"
            " it, but gives a number of no meaning; division by a secret zero gives 0, and its flag is seen"
            " only if the program reveals it"
        )
    return tuple(found)


def _price(graph: Graph, size: tuple[int, int], limits: Limits) -> tuple[ProgramCost | None, str]:
    """What it costs, or why it is not worked out. Its shapes are judged before anything is laid out."""
    committee = whole(*size, "P")
    try:
        sizes.check_sizes(graph, [limits])
        found = cost(lower(graph, committee), committee)
    except LocalMisuse as error:
        return None, error.sentence()
    return (
        ProgramCost(
            committee.n,
            committee.t,
            found.rounds,
            found.busiest_bytes,
            found.memory_bytes,
            round(found.seconds(LAN), 4),
            round(found.seconds(WAN), 4),
            found.explain(),
        ),
        "",
    )
