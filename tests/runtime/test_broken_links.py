"""A link that breaks while a masked vector is on it: the rest is sent again, checked, and not without end."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import trio

from mesh.api.shapes import JobSpec, QuerySpec
from mesh.data.policy import ALLOW
from mesh.data.room import DataRoom
from mesh.net.profile import LinkProfile
from mesh.runtime.vectors.bulk import MAX_ASKED, BulkLane
from mesh.runtime.vectors.store import VectorOffer, VectorPiece, VectorRequest, VectorStore, open_piece
from protocols.arithmetic import field
from protocols.errors import MalformedMessage, TransportError, UnexpectedMessage
from protocols.identifiers import PartyId, SessionId
from protocols.machine import Transfer
from protocols.masking.layout import SPAN_COORDINATES, Layout
from protocols.masking.parameters import B16_N10
from protocols.sessions.bulk_messages import VectorStored
from tests.runtime.memory_mesh import MemoryMesh, in_place

__all__ = ["in_place"]
A, B, C = (PartyId(bytes([i]) * 32) for i in (1, 2, 3))
SESSION = SessionId(bytes([7]) * 32)
LAYOUT = Layout(B16_N10, 4 * SPAN_COORDINATES + 100)
PLAN = SimpleNamespace(parties=(A, B, C), stages=(SimpleNamespace(adders=(B,)),), session=SESSION, epoch=1)


class Wire:
    """A postman whose letters wait until `pump` delivers them; pieces wait for `open` first."""

    def __init__(self) -> None:
        self.letters: list[object] = []
        self.pieces: list[int] = []
        self.breaks_after = 10**6
        self.to: BulkLane | None = None

    def post(self, to, message, **_):
        self.letters.append(message)
        return 0

    async def stream(self, to, frame):
        await trio.lowlevel.checkpoint()
        if len(self.pieces) >= self.breaks_after:
            raise TransportError("the link broke", code="C-502")
        session, piece = open_piece(frame)
        assert session == SESSION
        self.pieces.append(piece.index)
        self.to.receive(A, piece)
        return len(frame)


class Pair:
    """A sends to B; both ends of it, and what B's machine heard."""

    def __init__(self, folder) -> None:
        self.heard: list[object] = []
        self.there, self.back = Wire(), Wire()
        self.source = VectorStore(folder / "a", SESSION, LAYOUT, 4)
        self.target = VectorStore(folder / "b", SESSION, LAYOUT, 4)
        self.a = BulkLane(PLAN, self.source, self.there, lambda _: None)
        self.b = BulkLane(PLAN, self.target, self.back, self.heard.append)
        self.there.to = self.b
        rng = np.random.default_rng(1)
        sizes = [LAYOUT.span_bytes(i) for i in range(LAYOUT.spans)]
        self.name = self.source.keep(rng.integers(0, 255, size, dtype=np.uint8) for size in sizes)

    def exchange(self) -> None:
        """Offers and requests arrive."""
        for wire, lane, sender in ((self.there, self.b, A), (self.back, self.a, B)):
            letters, wire.letters = wire.letters, []
            for letter in letters:
                lane.receive(sender, letter)


async def test_after_a_break_only_the_missing_pieces_are_sent_again(tmp_path, in_place, nursery):
    pair = Pair(tmp_path)
    await nursery.start(pair.a.run)
    await nursery.start(pair.b.run)
    pair.there.breaks_after = 2
    pair.a.transfer(Transfer((B,), pair.name))
    pair.exchange()
    await trio.testing.wait_all_tasks_blocked()
    assert pair.there.pieces == [0, 1]
    assert pair.heard == []
    pair.there.breaks_after = 10**6
    pair.a.offer_again(C)
    assert pair.there.letters == []
    pair.a.offer_again(B)
    pair.exchange()
    await trio.testing.wait_all_tasks_blocked()
    assert pair.there.pieces == [0, 1, 2, 3, 4]
    assert pair.heard == [VectorStored(pair.name)]
    pair.a.offer_again(B)  # it is there: nothing is sent, the machine hears of it once more
    pair.exchange()
    assert pair.back.letters == []


async def test_a_request_that_comes_while_a_stream_runs_replaces_it(tmp_path, in_place, nursery):
    pair = Pair(tmp_path)
    await nursery.start(pair.a.run)
    pair.a.transfer(Transfer((B,), pair.name))
    pair.target.expect(A, pair.there.letters[0])
    request = pair.target.request(pair.name)
    pair.a.receive(B, request)
    pair.a.receive(B, request)
    await trio.testing.wait_all_tasks_blocked()
    assert pair.there.pieces == [0, 1, 2, 3, 4]


async def test_resending_has_an_end_and_strangers_pieces_none(tmp_path):
    pair = Pair(tmp_path)
    offer = pair.source.offer(pair.name)
    for _ in range(MAX_ASKED):
        pair.b.receive(A, offer)
    with pytest.raises(UnexpectedMessage, match="more than"):
        pair.b.receive(A, offer)
    assert len(pair.back.letters) == MAX_ASKED
    pair.a.transfer(Transfer((B,), pair.name))
    for letter in pair.back.letters:
        pair.a.receive(B, letter)
    with pytest.raises(UnexpectedMessage, match="more than"):
        pair.a.receive(B, pair.back.letters[0])
    with pytest.raises(UnexpectedMessage, match="not offered"):
        pair.a.receive(C, pair.back.letters[0])
    for wanted in (b"", b"\xff", b"\x1f\x00"):
        with pytest.raises(MalformedMessage, match="does not have"):
            pair.source.wanted(B, VectorRequest(pair.name, wanted))


def test_a_false_piece_after_a_break_is_refused_and_the_right_one_still_counts(tmp_path):
    pair = Pair(tmp_path)
    pair.b.receive(A, pair.source.offer(pair.name))
    for index in (0, 1):
        pair.b.receive(A, pair.source.piece_of(pair.name, index))
    pair.b.receive(A, pair.source.offer(pair.name))
    assert pair.source.wanted(B, pair.back.letters[-1]) == [2, 3, 4]
    good = pair.source.piece_of(pair.name, 2)
    with pytest.raises(MalformedMessage, match="digest"):
        pair.b.receive(A, VectorPiece(pair.name, 2, bytes(len(good.data))))
    for index in (2, 3, 4):
        pair.b.receive(A, pair.source.piece_of(pair.name, index))
    assert pair.heard == [VectorStored(pair.name)]
    assert isinstance(pair.source.offer(pair.name), VectorOffer)


LENGTH = 3 * SPAN_COORDINATES
ROUND = JobSpec(
    "rows", (QuerySpec("update", "*", (float(LENGTH), 1.0, 16.0, 1.0, 0.0)),), min_sites=4, timeout_s=60.0
)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every node gives 1, 2, 3, … with weight 1, without asking anybody."""
    ours = DataRoom.contribution

    def contribution(room, plan, *rest):
        if plan.job.dataset != "rows":
            return ours(room, plan, *rest)
        return np.concatenate([field.as_elements([1]), np.arange(LENGTH, dtype=np.uint64) % 1000]), 1

    monkeypatch.setattr(DataRoom, "contribution", contribution)
    monkeypatch.setattr(DataRoom, "consider", lambda *_: ALLOW)
    monkeypatch.setattr(DataRoom, "authorize", lambda *_: ALLOW)


@pytest.mark.parametrize("quick", [True, False])
async def test_a_session_survives_links_that_break_in_mid_stream(
    quick, tmp_path, in_place, given, monkeypatch, autojump_clock, nursery
):
    """Each of three devices loses its link to the adder once, and the adder to a device on the way down."""
    mesh = MemoryMesh(tmp_path, nursery)
    mesh.network.profile = LinkProfile(dial_timeout_s=0.3)
    nodes = await mesh.start(4)
    broken: set[tuple[PartyId, PartyId]] = set()
    take = BulkLane.receive

    async def heal(a, b):
        await trio.sleep(0.7)
        mesh.network.heal(a, b)

    def breaking(lane, sender, message):
        take(lane, sender, message)
        me = lane._postman._transport.me
        if isinstance(message, VectorPiece) and message.index == 1 and (sender, me) not in broken:
            broken.add((sender, me))
            if quick:  # up again at once
                mesh.network._nodes[me]._links[sender].close("connection reset")
                return
            mesh.network.cut(sender, me, abrupt=True)
            nursery.start_soon(heal, sender, me)

    monkeypatch.setattr(BulkLane, "receive", breaking)
    info = await nodes[0].ended(await nodes[0].service.submit(ROUND))
    assert info.result is not None, info.error
    assert info.result.sites == 4
    assert len(broken) >= 3
    assert info.result.value is None
    assert info.result.answers[0].length == LENGTH
    found = np.load(nodes[0].node.results.path(info.id, 0))
    assert np.allclose(found, np.arange(LENGTH) % 1000 / 32767, atol=1e-9)


@pytest.mark.parametrize("who", [0, 1, 2, 3])
async def test_a_node_that_crashes_with_masked_vectors_under_way_goes_on_with_them(
    who, tmp_path, in_place, given, autojump_clock, nursery
):
    """It may have asked, dealt or added; whole vectors are still in its spool, the others are sent again."""
    mesh = MemoryMesh(tmp_path, nursery)
    nodes = list(await mesh.start(4))
    asker, victim = nodes[0], nodes[who]
    job = await asker.service.submit(ROUND)

    def moved() -> bool:
        stores = [d.bulk.store for d in victim.node.sessions.registry.live.values() if d.bulk is not None]
        return any(store.names for store in stores)

    with trio.fail_after(30):
        while not moved():
            await trio.sleep(0.001)
    await mesh.crash(victim)
    back = await mesh.restart(victim)
    info = await (back if who == 0 else asker).ended(job)
    assert info.result is not None, info.error
    assert info.result.sites == 4
    assert back.node.sessions.counters["sessions_resumed"] == 1
    found = np.load((back if who == 0 else asker).node.results.path(info.id, 0))
    assert np.allclose(found, np.arange(LENGTH) % 1000 / 32767, atol=1e-9)
