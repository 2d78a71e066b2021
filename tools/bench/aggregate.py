"""One aggregation of long vectors, secure and plain, over the real machines in one process; sums are checked.

CPU by role: a device quantises, masks, deals, seals, signs and sends; adders verify, spool and add; members
unseal, check and add shares; the initiator unmasks. All include signatures, codec, digests and the spool.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mesh.runtime.vectors import masked
from mesh.runtime.vectors.bulk import sum_arrivals
from mesh.runtime.vectors.store import VectorStore
from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse
from protocols.identifiers import Digest, PartyId
from protocols.machine import Machine
from protocols.masking.layout import Layout
from protocols.masking.parameters import B16_N10, B16_N10_TWO_SLOTS, Parameters, choose
from protocols.masking.quantise import Quantiser
from protocols.sessions import events
from protocols.sessions.bulk_messages import VectorStored
from protocols.sessions.messages import NO_VECTOR
from protocols.sessions.party import SessionParty
from protocols.sessions.plan import Bulk, Query
from tools.bench.accounts import Accounts
from tools.bench.network import ADDITION, Network
from tools.bench.plain import PlainParty, PlainStore, raw_layout
from tools.bench.tree import COMMITTEE, Tree, build, leaf_target

VALUE_BITS = 16
QUANTISER = Quantiser(1.0, VALUE_BITS, 1)
PREPARE, UNMASK = "quantise and mask", "unmask"

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Case:
    """What to measure. `vanish`: "before" anything is sent, or "dealt": between dealing and vector."""

    devices: int
    length: int
    drop: float = 0.0
    slots: int | None = None
    vanish: str = "before"
    cluster: int | None = None
    seed: int = 1

    @property
    def parameters(self) -> Parameters:
        """The set asked for, or the one that the planner picks. Raises LocalMisuse for direct sharing."""
        if self.slots is not None:
            return {1: B16_N10, 2: B16_N10_TWO_SLOTS}[self.slots]
        choice = choose(self.length, VALUE_BITS, self.devices, seats=COMMITTEE[0])
        if choice.parameters is None:
            raise LocalMisuse(choice.reason, fix="measure short vectors with `session`, or name --slots")
        return choice.parameters

    @property
    def vanishing(self) -> frozenset[int]:
        """Positions of the devices that vanish."""
        count = round(self.devices * self.drop)
        return frozenset(random.Random(self.seed).sample(range(self.devices), count))


@dataclass(frozen=True, slots=True)
class Run:
    """One run's books. `exact`: the sum was that of the devices that stayed."""

    accounts: Accounts
    live: int
    exact: bool


def values_of(index: int, case: Case) -> Values:
    """A device's vector, (length,): a base everybody shares, scaled."""
    base = np.random.default_rng(case.seed).standard_normal(case.length, dtype=np.float32)
    base *= np.float32(0.1 * (1 + index / case.devices))
    return base


def secure(case: Case, spool: Path) -> Run:
    """The protected aggregation. Raises LocalMisuse if it did not open."""
    parameters = case.parameters
    layout = Layout(parameters, case.length)
    bulk = Bulk(parameters.name, case.length, to_all=False)
    tree = build(case.devices, parameters.dealt_length, bulk, _query(case), case.cluster)
    expected = np.zeros(case.length, dtype=np.int64)

    def device(network: Network, index: int, party: PartyId) -> tuple[Machine, Digest]:
        values, seed = values_of(index, case), index.to_bytes(32, "big")
        store = network.stores[party]
        with network.accounts.charge(tree.roles[party], PREPARE):
            whole = QUANTISER.quantise(values, 1, Xof(seed, "benchmark rounding")).values
            elements = np.concatenate([field.as_elements([1]), field.from_signed(whole.astype(np.int64))])
            made = masked.mask(tree.plan, store, elements, seed)
        if index not in case.vanishing:
            expected[:] += whole
        machine = SessionParty(tree.plan, tree.keys[party], seed, made.dealt, masked=made.name)
        return machine, made.name

    def other(index: int, party: PartyId) -> Machine:
        return SessionParty(tree.plan, tree.keys[party], (1 << 20 | index).to_bytes(32, "big"))

    network = _run(case, tree, spool, lambda folder: _store(folder, tree, layout), device, other)
    total, contributors = _unmask(network)
    exact = bool(np.array_equal(field.to_signed(total[1:]), expected))
    exact = exact and int(total[0]) == contributors == case.devices - len(case.vanishing)
    return Run(network.accounts, contributors, exact)


def plain(case: Case, spool: Path) -> Run:
    """The same tree with float32 vectors that are sent and added as they are."""
    layout = raw_layout(case.length)
    bulk = Bulk(B16_N10.name, case.length, to_all=False)
    tree = build(case.devices, B16_N10.dealt_length, bulk, _query(case), case.cluster)
    expected = np.zeros(case.length, dtype=np.float64)

    def device(network: Network, index: int, party: PartyId) -> tuple[Machine, Digest]:
        values, store = values_of(index, case), network.stores[party]
        assert isinstance(store, PlainStore)
        with network.accounts.charge(tree.roles[party], PREPARE):
            name = store.keep(store.pieces(values))
        if index not in case.vanishing:
            expected[:] += values
        return PlainParty(tree.plan, party, name), name

    def make(folder: Path) -> VectorStore:
        return PlainStore(folder, tree.plan.session, layout, _most(tree))

    network = _run(case, tree, spool, make, device, lambda _, party: PlainParty(tree.plan, party))
    store, name = network.stores[tree.plan.initiator], _total_of(network)
    assert isinstance(store, PlainStore)
    with network.accounts.charge("initiator", UNMASK):
        total = store.read(name)
    close = bool(np.allclose(total, expected, rtol=1e-4, atol=1e-3))
    return Run(network.accounts, case.devices - len(case.vanishing), close)


def _query(case: Case) -> Query:
    return Query("update", "*", (float(case.length), QUANTISER.clip, float(VALUE_BITS), 1.0, 0.0))


def _most(tree: Tree) -> int:
    return len(tree.devices) + 2 * len(tree.plan.stages) + 2


def _store(folder: Path, tree: Tree, layout: Layout) -> VectorStore:
    return VectorStore(folder, tree.plan.session, layout, _most(tree))


def _run(
    case: Case,
    tree: Tree,
    spool: Path,
    make_store: Callable[[Path], VectorStore],
    device: Callable[[Network, int, PartyId], tuple[Machine, Digest]],
    other: Callable[[int, PartyId], Machine],
) -> Network:
    """Start the others, then one device after the other; who vanishes takes its spool along."""
    network = Network(tree, Accounts())
    gone = {tree.devices[index] for index in case.vanishing}
    for party in gone:
        tree.roles[party] = "vanished"
    if case.vanish == "before":
        network.lose(sorted(gone))
    serving = sorted(set(tree.roles) - set(tree.devices))
    for index, party in enumerate(serving):
        if tree.roles[party] != "member":
            network.stores[party] = make_store(spool / party.hex())
            sum_arrivals(network.stores[party], tree.plan, party)
        network.start(party, other(index, party))
    for index, party in enumerate(tree.devices):
        if party in network.gone:
            continue
        network.stores[party] = make_store(spool / party.hex())
        machine, name = device(network, index, party)
        if party in gone:
            network.start(party, machine)
            network.lose([party])
        else:
            network.start(party, machine)
            network.tell(party, VectorStored(name))
        network.deliver()
        if party in gone:
            network.stores.pop(party).close()  # the others keep theirs: they are asked in the audit
    network.settle()
    return network


def _total_of(network: Network) -> Digest:
    told = network.events[network.tree.plan.initiator]
    names = [event.name for event in told if isinstance(event, events.MaskedTotal)]
    if not names or names[0] == NO_VECTOR:
        raise LocalMisuse(f"the session did not open: {told[-1:]}; {[str(e) for e in network.errors[:3]]}")
    return names[0]


def _unmask(network: Network) -> tuple[Elements, int]:
    plan, name = network.tree.plan, _total_of(network)
    opened = network.machines[plan.initiator].outcome
    assert isinstance(opened, events.Opened)
    count = len(opened.contributors)
    with network.accounts.charge("initiator", UNMASK):
        total = masked.read(plan, network.stores[plan.initiator], opened.total, count, name)
    return total, count


def measure(case: Case, *, with_plain: bool = True) -> dict[str, object]:
    """All figures of one case."""
    case = replace(case, slots=case.parameters.slots)
    with tempfile.TemporaryDirectory(prefix="coppice-bench-") as folder:
        protected = secure(case, Path(folder) / "secure")
        bare = plain(case, Path(folder) / "plain") if with_plain else None
    books, live = protected.accounts, protected.live
    upload = books.bytes_of("device") / live
    unmask = books.cpu_s["initiator", UNMASK]
    figures: dict[str, object] = {
        "devices": case.devices,
        "length": case.length,
        "drop": case.drop,
        "vanish": case.vanish,
        "cluster": case.cluster or leaf_target(Bulk(case.parameters.name, case.length, False)),
        "mode": "masked",
        "parameters": case.parameters.name,
        "exact": protected.exact,
        "client_cpu_s": books.of("device") / live,
        "client_cpu_by_activity_s": books.activities("device", live),
        "aggregator_cpu_s_per_child": books.of("adder") / live,
        "aggregator_cpu_by_activity_s_per_child": books.activities("adder", live),
        "aggregator_adding_cpu_s_per_child": books.cpu_s["adder", ADDITION] / live,
        "committee_cpu_s": books.of("member"),
        "unmask_cpu_s": unmask,
        "aggregator_and_committee_cpu_s_total": books.of("adder") + books.of("member"),
        "server_cpu_s_total": books.of("adder") + books.of("member") + unmask,
        "upload_bytes": round(upload),
        "upload_over_float32": upload / (4 * case.length),
        "upload_vector_over_float32": Layout(case.parameters, case.length).packed_bytes / (4 * case.length),
        "upload_by_kind": {
            kind: round(size / live)
            for (role, kind), size in sorted(books.sent_bytes.items()) if role == "device"
        },
    }  # fmt: skip
    if bare is not None:
        figures["plain_exact"] = bare.exact
        figures["plain_cpu_s_total"] = bare.accounts.total()
        figures["plain_client_cpu_s"] = bare.accounts.of("device") / live
        figures["secure_over_plain"] = books.total() / bare.accounts.total()
        figures["secure_over_plain_kind"] = "CPU of all parties, in one process"
        path = books.of("device") / live + books.of("adder") + books.of("member") + unmask
        bare_path = bare.accounts.of("device") / live + bare.accounts.of("adder")
        figures["critical_path_over_plain"] = path / (bare_path + bare.accounts.cpu_s["initiator", UNMASK])
    return figures
