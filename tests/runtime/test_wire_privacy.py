"""Every byte that eight real nodes send and receive, read before encryption and after decryption.

Three claims. No row, no device's and no cluster's encoded sums stand in any frame, in any encoding used.
Nor do they in what t parties can unseal with their own keys. And what t parties unseal of an honest
party's dealing fits its inputs no better than others: for each dealing another polynomial with another
secret is exhibited that gives the same shares to them and the same public proof.

That all views taken together fix nothing but the total is shown by linear algebra in
tests/scenarios/test_session_privacy.py.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass, field

import numpy as np
import pytest
import trio

from protocols.arithmetic import field as fields
from protocols.identifiers import PartyId, SessionId
from protocols.sessions import dealing as dealings
from protocols.sessions.assembly import first_generation
from protocols.sessions.messages import BY_KIND, Deal, Dealing, Part, PlanOffer, Result
from protocols.sharing import consistency, shamir
from protocols.wire import codec, envelope, sealing
from tests.runtime.memory_mesh import MemoryMesh, ask, in_place

__all__ = ["in_place"]
ROWS = [
    [131.4142135 + 17.31 * site + 3.77 * row + site * row / 7.0 for row in range(5 + site)]
    for site in range(8)
]
LARGE = 2**24
"""Smaller elements would be found by chance."""


@dataclass
class Wire:
    """What a session left on the wire, and what the test knows beside it."""

    members: list = field(default_factory=list)
    frames: list[tuple[PartyId, str, PartyId, bytes]] = field(default_factory=list)
    vectors: dict[SessionId, dict[PartyId, np.ndarray]] = field(default_factory=dict)
    plan: object = None
    total: np.ndarray | None = None

    def letters(self, party: PartyId):
        """Session messages of the plan that `party` sent or received."""
        for owner, _, _, payload in self.frames:
            if owner != party:
                continue
            letter = envelope.verify(payload, mesh=self.members[0].identity.mesh.mesh)
            if letter.session == self.plan.session:
                yield codec.decode(BY_KIND[letter.kind], letter.body)

    @property
    def secrets(self) -> list[bytes]:
        """Everything that must not be readable, in the encodings that could carry it."""
        found = []
        for value in itertools.chain.from_iterable(ROWS):
            found += [struct.pack("<d", value), struct.pack(">d", value), repr(value).encode()]
            found.append(f"{value:.6f}".encode())
        for values in ROWS:
            for number in (float(np.sum(values)), float(np.mean(values)), float(np.var(values, ddof=1))):
                found += [struct.pack("<d", number), struct.pack(">d", number), f"{number:.6f}".encode()]
        for vector in (*self.vectors[self.plan.session].values(), *self.cluster_sums):
            found += elements(vector)
        return found

    @property
    def cluster_sums(self) -> list[np.ndarray]:
        given = self.vectors[self.plan.session]
        stages = [stage for stage in self.plan.stages if stage.dealers]
        return [fields.total(np.stack([given[party] for party in stage.dealers])) for stage in stages]


def elements(vector: np.ndarray) -> list[bytes]:
    """Large elements as eight bytes, both ways round, and in digits."""
    large = [int(value) for value in vector if LARGE < int(value) < fields.P - LARGE]
    return [
        code
        for value in large
        for code in (struct.pack("<Q", value), struct.pack(">Q", value), str(value).encode())
    ]


def found_in(needles: list[bytes], haystack: list[bytes]) -> set[bytes]:
    joined = b"\xff\xfe--\xfe\xff".join(haystack)
    return {needle for needle in needles if needle in joined}


def listen(wire: Wire, member) -> None:
    def tap(direction: str, peer: PartyId, payload: bytes) -> None:
        wire.frames.append((member.party, direction, peer, payload))

    member.transport._tap = tap
    consent = member.node.sessions._consent

    async def keep(plan):
        vector, refusal = await consent(plan)
        if vector is not None:
            wire.vectors.setdefault(plan.session, {})[member.party] = np.array(vector)
        return vector, refusal

    member.node.sessions._consent = keep


@pytest.fixture
async def wire(tmp_path, in_place, autojump_clock, nursery):
    """A session of eight nodes with data in two clusters."""
    mesh = MemoryMesh(tmp_path, nursery)
    wire = Wire()
    wire.members = await mesh.start(8, ROWS)
    for member in wire.members:
        listen(wire, member)
    asker = wire.members[0]
    job = await asker.service.submit(ask("mean", "sum", "variance"))
    info = await asker.ended(job)
    assert info.result is not None, info.error
    assert info.result.sites == 8
    with trio.fail_after(60):
        while wire.total is None:  # the asker may have opened it before it told anybody
            await trio.sleep(0.1)
            read(wire, info.result.session)
    assert len([stage for stage in wire.plan.stages if stage.dealers]) == 2
    return wire


def read(wire: Wire, session: str) -> None:
    """Find the plan and the opened total in the frames of the session."""
    for _, _, _, payload in wire.frames:
        letter = envelope.verify(payload, mesh=wire.members[0].identity.mesh.mesh)
        if letter.session.hex() != session:
            continue
        if letter.kind == PlanOffer.KIND:
            wire.plan = codec.decode(PlanOffer, letter.body).plan
        elif letter.kind == Result.KIND:
            wire.total = codec.decode(Result, letter.body).total


async def test_frames_and_views_of_t_parties_tell_no_row_and_no_partial_sum(wire):
    nothing_in_clear(wire)
    t_parties_unseal_nothing_but_shares_of_anything(wire)


def nothing_in_clear(wire):
    payloads = [payload for _, _, _, payload in wire.frames]
    assert found_in(elements(wire.total), payloads), "the search finds what is there: the opened total"
    assert len(wire.secrets) > 500
    assert any(len(needle) == 8 for needle in elements(wire.cluster_sums[0]))
    assert found_in(wire.secrets, payloads) == set()
    expected = fields.total(np.stack(list(wire.vectors[wire.plan.session].values())))
    assert np.array_equal(wire.total[: expected.size], expected)


def unsealed(wire: Wire, coalition) -> tuple[list[bytes], dict[bytes, tuple[Dealing, dict[int, np.ndarray]]]]:
    """All plaintexts that the coalition's keys open, and by dealing digest its shares by point."""
    plain: list[bytes] = []
    by_dealing: dict[bytes, tuple[Dealing, dict[int, np.ndarray]]] = {}
    for member in coalition:
        for message in wire.letters(member.party):
            if not isinstance(message, Deal | Part):
                continue
            dealing = message.dealing
            assembly = first_generation(wire.plan, dealing.stage)
            context = dealings._seal_context(assembly, dealing.dealer, dealing.source)
            name = dealings.dealing_digest(assembly, dealing)
            _, shares = by_dealing.setdefault(name, (dealing, {}))
            for blob in message.sealed if isinstance(message, Deal) else (message.sealed,):
                for owner in coalition:
                    try:
                        text = sealing.unseal(owner.identity.party_keys.sealing_secret, blob, context)
                    except sealing.SealBroken:
                        continue
                    plain.append(text)
                    shares[assembly.seat_of(owner.party) + 1] = np.frombuffer(text, "<u8").astype(np.uint64)
    return plain, by_dealing


def t_parties_unseal_nothing_but_shares_of_anything(wire):
    t = min(stage.threshold for stage in wire.plan.stages)
    assert t >= 2
    adders = {stage.adders[0] for stage in wire.plan.stages}
    by_rank = sorted(wire.members, key=lambda member: member.party not in adders)
    everything = unsealed(wire, wire.members)[1]
    checked = 0
    seated = [[m for m in wire.members if m.party in stage.members[:t]] for stage in wire.plan.stages]
    for coalition in (by_rank[:t], by_rank[-t:], wire.members[2 : 2 + t], *seated):
        plain, seen = unsealed(wire, coalition)
        assert plain
        assert found_in(wire.secrets, plain) == set()
        corrupt = {member.party for member in coalition}
        for name, (dealing, shares) in seen.items():
            assert len(shares) <= t
            if dealing.dealer not in corrupt and shares:
                another_input(wire, dealing, shares, everything[name][1])
                checked += 1
    assert checked > 20


def another_input(wire: Wire, dealing: Dealing, seen, all_shares) -> None:
    """Exhibit polynomials with another secret and the same shares and proof for those who saw `seen`."""
    assembly = first_generation(wire.plan, dealing.stage)
    t = assembly.threshold
    points = sorted(all_shares)
    assert len(points) > t
    true = interpolate(points, all_shares, t)  # (t+1, W), lowest coefficient first
    rng = np.random.default_rng(len(seen))
    width = true.shape[1] - consistency.REPETITIONS
    vanishing = np.array([1], dtype=np.uint64)
    for point in seen:
        vanishing = fields.add(
            fields.mul(np.append(vanishing, np.uint64(0)), fields.neg(fields.as_elements([point]))),
            np.append(np.uint64(0), vanishing),
        )
    shift = np.zeros_like(true)
    amounts = rng.integers(1, fields.P, width, dtype=np.uint64)
    for k, coefficient in enumerate(vanishing):
        shift[k, :width] = fields.mul(amounts, coefficient)
    rho = dealings._challenge(assembly, dealing.dealer, dealing.source, dealing.sealed)
    shift[:, width:] = fields.neg(consistency.masked_combination(shift, rho))
    other = fields.add(true, shift)
    assert (other[0, :width] != true[0, :width]).all(), "every input element differs"
    shares = shamir.shares(other, len(assembly.seats))
    for point, share in seen.items():
        assert np.array_equal(shares[point - 1], share)
    assert np.array_equal(consistency.respond(other, rho).reshape(-1), dealing.response)
    given = wire.vectors[wire.plan.session].get(dealing.dealer)
    if assembly.plan.stages[dealing.stage].dealers:
        assert np.array_equal(true[0, : given.size], given), "t+1 parties together would have read it"


def interpolate(points: list[int], shares, t: int) -> np.ndarray:
    """Coefficients of the polynomials of degree t through the first t+1 shares."""
    chosen = points[: t + 1]
    powers = np.stack([fields.powers(point, t + 1, 0) for point in chosen])
    rows = np.stack([shares[point] for point in chosen])
    return solve(powers, rows)


def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """matrix^-1 @ right over the field, by elimination."""
    work = np.concatenate([matrix, right], axis=1)
    size = len(matrix)
    for column in range(size):
        pivot = column + int(np.flatnonzero(work[column:, column])[0])
        work[[column, pivot]] = work[[pivot, column]]
        work[column] = fields.mul(work[column], fields.inv(work[column, column : column + 1]))
        for row in range(size):
            if row != column:
                work[row] = fields.sub(work[row], fields.mul(work[row, column], work[column]))
    return work[:, size:]
