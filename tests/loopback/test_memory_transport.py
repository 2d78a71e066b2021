"""The in-process transport keeps the interface's promises under a virtual clock."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from mesh.net.memory_transport import MemoryNetwork
from mesh.net.transport import MAX_FRAME_BYTES, Admission, Lane, LinkDown, LinkUp, Verdict
from protocols.errors import LocalMisuse, TransportError
from protocols.identifiers import PartyId

A, B, C = (PartyId(bytes([i]) * 32) for i in (1, 2, 3))


class OpenGate:
    def __init__(self, blob: bytes = b"cert", **verdicts: Verdict) -> None:
        self.blob = blob
        self.verdicts = {bytes.fromhex(key): value for key, value in verdicts.items()}
        self.default = Verdict(Admission.MEMBER)

    def hello(self) -> bytes:
        return self.blob

    def admit(self, peer, hello):
        return self.verdicts.get(bytes(peer), self.default)


@pytest.fixture
def clock(autojump_clock):
    return autojump_clock


async def pair(nursery, gate_a=None, gate_b=None, **kwargs):
    net = MemoryNetwork(**kwargs)
    a, b = net.transport(A, gate_a or OpenGate()), net.transport(B, gate_b or OpenGate())
    await nursery.start(a.run)
    await nursery.start(b.run)
    a.want({B: b.addresses()})
    return net, a, b


async def test_frames_arrive_in_order_with_latency(clock, nursery):
    _net, a, b = await pair(nursery, latency_s=0.5)
    assert await a.events.receive() == LinkUp(B, guest=False)
    assert await b.events.receive() == LinkUp(A, guest=False)
    start = trio.current_time()
    for i in range(20):
        await a.send(B, bytes([i]))
    got = [(await b.frames.receive()).payload[0] for _ in range(20)]
    assert got == list(range(20))
    assert trio.current_time() - start == pytest.approx(0.5)
    await b.send(A, b"back", Lane.BULK)
    frame = await a.frames.receive()
    assert (frame.sender, frame.payload, frame.guest) == (B, b"back", False)


async def test_silent_cut_is_noticed_after_detect_and_heals(clock, nursery):
    net, a, b = await pair(nursery)
    await a.events.receive()
    net.cut(A, B)
    start = trio.current_time()
    await a.send(B, b"lost")
    down = await a.events.receive()
    assert isinstance(down, LinkDown)
    assert trio.current_time() - start == pytest.approx(net.profile.detect_s)
    with pytest.raises(TransportError):
        await a.send(B, b"x")
    assert B in a.troubles()
    net.heal(A, B)
    assert isinstance(await a.events.receive(), LinkUp)
    await a.send(B, b"again")
    assert (await b.frames.receive()).payload == b"again"


async def test_short_cut_only_delays(clock, nursery):
    net, a, b = await pair(nursery)
    await a.events.receive()
    net.cut(A, B)
    await a.send(B, b"late")
    await trio.sleep(1)
    net.heal(A, B)
    assert (await b.frames.receive()).payload == b"late"
    assert B in a.links()


async def test_kill_is_noticed_at_once(clock, nursery):
    net, a, b = await pair(nursery)
    await a.events.receive()
    start = trio.current_time()
    net.kill(B)
    assert isinstance(await a.events.receive(), LinkDown)
    assert trio.current_time() == start
    assert [frame async for frame in b.frames] == []


async def test_refusal_reaches_both_sides_with_the_reason(clock, nursery):
    gate = OpenGate()
    gate.default = Verdict(Admission.REFUSED, "certificate expired")
    _, a, b = await pair(nursery, gate_b=gate)
    down_a, down_b = await a.events.receive(), await b.events.receive()
    assert "certificate expired" in down_a.reason
    assert "certificate expired" in down_b.reason
    assert "certificate expired" in a.troubles()[B]
    with pytest.raises(TransportError, match="certificate expired"):
        await a.send(B, b"x")


async def test_guest_limits_then_member_after_reintroduce(clock, nursery):
    gate = OpenGate()
    gate.default = Verdict(Admission.GUEST)
    _net, a, b = await pair(nursery, gate_b=gate)
    assert await b.events.receive() == LinkUp(A, guest=True)
    with pytest.raises(LocalMisuse):
        await a.send(B, bytes(20_000))
    await a.send(B, b"ticket")
    assert (await b.frames.receive()).guest
    gate.default = Verdict(Admission.MEMBER)
    a.reintroduce()
    assert isinstance(await b.events.receive(), LinkDown)
    assert await b.events.receive() == LinkUp(A, guest=False)
    with pytest.raises(LocalMisuse):
        await a.send(B, bytes(MAX_FRAME_BYTES + 1))


@pytest.mark.parametrize("by", ["frames", "seconds"])
async def test_guest_is_cut_off(clock, nursery, by):
    gate = OpenGate()
    gate.default = Verdict(Admission.GUEST)
    net, a, b = await pair(nursery, gate_b=gate)
    await b.events.receive()
    if by == "frames":
        for _ in range(net.profile.guest_frames + 1):
            await a.send(B, b"x")
            with trio.move_on_after(0.1):
                await b.frames.receive()
    down = await b.events.receive()
    assert "guest" in down.reason


async def test_slow_reader_holds_the_sender_back(clock, nursery):
    _net, a, _b = await pair(nursery)
    await a.events.receive()
    sent = 0
    with trio.move_on_after(5):
        while True:
            await a.send(B, b"x", Lane.BULK)
            sent += 1
    assert 30 < sent < 60


async def test_link_ends_when_neither_side_wants_it(clock, nursery):
    _net, a, b = await pair(nursery)
    await a.events.receive()
    b.want({A: a.addresses()})
    a.want({})
    await trio.testing.wait_all_tasks_blocked()
    assert B in a.links()
    b.want({})
    assert await a.events.receive() == LinkDown(B, "no longer wanted")
    assert not b.links()


async def test_drop_tells_the_reason(clock, nursery):
    _net, a, b = await pair(nursery)
    await a.events.receive()
    await b.events.receive()
    b.drop(A, "evicted")
    assert (await a.events.receive()).reason == "evicted"


async def test_wrong_address_is_told(clock, nursery):
    net = MemoryNetwork()
    a = net.transport(A, OpenGate())
    await nursery.start(a.run)
    a.want({B: ["/memory/00"], C: ["/memory/" + C.hex()]})
    await trio.sleep(1)
    assert "no address" in a.troubles()[B]
    assert "nobody listens" in a.troubles()[C]
