"""Links of real nodes in one process: admission, limits, flow, events, closing."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from mesh.net.profile import LinkProfile
from mesh.net.transport import (
    MAX_FRAME_BYTES,
    MAX_GUEST_FRAME_BYTES,
    Admission,
    Lane,
    LinkDown,
    LinkUp,
    Verdict,
)
from protocols.errors import LocalMisuse, TransportError
from tests.loopback.net_nodes import Gate, linked, meet, node, unlinked

GUEST = Verdict(Admission.GUEST)


async def test_frames_both_ways_on_both_lanes(nursery):
    a, b = node(1), node(2)
    await nursery.start(a.run)
    await nursery.start(b.run)
    a.want({b.me: b.addresses()})
    assert await linked(a) == LinkUp(b.me, guest=False)
    assert await linked(b) == LinkUp(a.me, guest=False)
    for lane in Lane:
        for source, target in ((a, b), (b, a)):
            for size in (0, 1, 1000, 100_000):
                payload = os.urandom(size)
                await source.send(target.me, payload, lane)
                frame = await target.frames.receive()
                assert (frame.sender, frame.payload, frame.guest) == (source.me, payload, False)
    info = a.links()[b.me]
    assert info.bytes_sent > 202_000
    assert info.bytes_received > 202_000
    assert info.address == b.addresses()[0]


async def test_largest_frames_pass_and_larger_ones_do_not(nursery):
    a, b = node(1), node(2)
    await nursery.start(a.run)
    await nursery.start(b.run)
    meet(a, b)
    await linked(a)
    payload = os.urandom(MAX_FRAME_BYTES)
    nursery.start_soon(a.send, b.me, b"small first", Lane.BULK)
    nursery.start_soon(a.send, b.me, payload, Lane.BULK)
    with trio.fail_after(10):
        got = {(await b.frames.receive()).payload for _ in range(2)}
    assert got == {b"small first", payload}
    with pytest.raises(LocalMisuse):
        await a.send(b.me, bytes(MAX_FRAME_BYTES + 1))


async def test_full_mesh_has_one_link_a_pair_and_no_flapping(nursery):
    nodes = [node(i, profile=LinkProfile(heartbeat_s=5, detect_s=20)) for i in range(1, 7)]
    for one in nodes:
        await nursery.start(one.run)
    meet(*nodes)
    for one in nodes:
        assert {(await linked(one)).peer for _ in range(5)} == {
            other.me for other in nodes if other is not one
        }
    for one in nodes:
        with pytest.raises(trio.WouldBlock):
            one.events.receive_nowait()
        for other in nodes:
            if other is not one:
                await one.send(other.me, b"hello")
        for _ in range(5):
            await trio.lowlevel.checkpoint()
    for one in nodes:
        with trio.fail_after(5):
            senders = {(await one.frames.receive()).sender for _ in range(5)}
        assert len(senders) == 5


@pytest.mark.parametrize("refusing", ["dialler", "acceptor"])
async def test_refusal_reaches_both_sides_with_the_reason(nursery, refusing):
    no = Gate(Verdict(Admission.REFUSED, "certificate expired on 3 May"))
    a = node(1, gate=no if refusing == "dialler" else None)
    b = node(2, gate=no if refusing == "acceptor" else None)
    await nursery.start(a.run)
    await nursery.start(b.run)
    a.want({b.me: b.addresses()})
    by_us, by_them = (a, b) if refusing == "dialler" else (b, a)
    assert (await unlinked(by_us)).reason == "refused by us: certificate expired on 3 May"
    assert (await unlinked(by_them)).reason == "refused by them: certificate expired on 3 May"
    with trio.fail_after(2):
        while "certificate expired" not in a.troubles()[b.me]:
            await trio.sleep(0.01)
    with pytest.raises(TransportError, match="certificate expired"):
        await a.send(b.me, b"x")
    assert no.asked
    assert no.asked[0][1] == b"certificate"
    assert not a.links()
    assert not b.links()


async def test_gate_that_raises_refuses(nursery, caplog):
    class Broken(Gate):
        def admit(self, peer, hello):
            raise RuntimeError("bug")

    a, b = node(1), node(2, gate=Broken())
    await nursery.start(a.run)
    await nursery.start(b.run)
    a.want({b.me: b.addresses()})
    assert "internal error" in (await unlinked(a)).reason


async def test_guest_limits_then_member_after_reintroduce(nursery):
    gate = Gate(GUEST)
    a, b = node(1), node(2, gate=gate)
    await nursery.start(a.run)
    await nursery.start(b.run)
    a.want({b.me: b.addresses()})
    assert await linked(b) == LinkUp(a.me, guest=True)
    assert await linked(a) == LinkUp(b.me, guest=False)
    for source, target in ((a, b), (b, a)):
        with pytest.raises(LocalMisuse):
            await source.send(target.me, bytes(MAX_GUEST_FRAME_BYTES + 1))
    await a.send(b.me, bytes(MAX_GUEST_FRAME_BYTES))
    frame = await b.frames.receive()
    assert frame.guest
    gate.default = Verdict(Admission.MEMBER)
    a.reintroduce()
    assert (await unlinked(b)).reason == "hello changed"
    assert await linked(b) == LinkUp(a.me, guest=False)


async def test_guest_with_too_many_frames_is_cut_off(nursery):
    a, b = node(1), node(2, gate=Gate(GUEST), profile=LinkProfile(guest_frames=3))
    await nursery.start(a.run)
    await nursery.start(b.run)
    a.want({b.me: b.addresses()})
    await linked(a)
    for _ in range(4):
        await a.send(b.me, b"x")
    assert "more frames than it may" in (await unlinked(b)).reason
    assert "more frames than it may" in (await unlinked(a)).reason


async def test_guest_time_and_number_are_limited(nursery):
    profile = LinkProfile(guest_s=0.3, max_guests=1)
    b = node(9, gate=Gate(GUEST), profile=profile)
    a, c = node(1), node(2)
    for one in (a, b, c):
        await nursery.start(one.run)
    a.want({b.me: b.addresses()})
    await linked(b)
    c.want({b.me: b.addresses()})
    assert "too many guests" in (await unlinked(c)).reason
    while "too many guests" in (down := await unlinked(b)).reason:
        pass
    assert down == LinkDown(a.me, "guest time is over")
    assert (await unlinked(a)).reason == "guest time is over"
    assert await linked(b)


async def test_slow_reader_holds_only_its_own_sender_back(nursery):
    a, slow, quick = node(1), node(2), node(3)
    for one in (a, slow, quick):
        await nursery.start(one.run)
    a.want({slow.me: slow.addresses(), quick.me: quick.addresses()})
    await linked(a)
    await linked(a)
    sent = 0
    chunk = bytes(256 * 1024)

    async def flood():
        nonlocal sent
        while True:
            await a.send(slow.me, chunk, Lane.BULK)
            sent += 1

    nursery.start_soon(flood)
    before = -1
    with trio.fail_after(10):
        while sent != before or sent == 0:  # until the flood stands still
            before = sent
            for _ in range(20):
                await a.send(quick.me, b"ping")
                assert (await quick.frames.receive()).payload == b"ping"
    assert 16 <= sent <= 40  # credit (4.5 MiB), outbox (0.5 MiB) and the receiver's eight buffered frames
    with trio.fail_after(10):
        for _ in range(60):
            assert (await slow.frames.receive()).payload == chunk


async def test_caller_cancelled_in_send_breaks_nothing(nursery):
    a, b = node(1), node(2)
    await nursery.start(a.run)
    await nursery.start(b.run)
    meet(a, b)
    await linked(a)
    chunk = os.urandom(1024 * 1024)
    cancelled = 0
    for _ in range(30):
        with trio.move_on_after(0.002) as scope:
            await a.send(b.me, chunk, Lane.BULK)
        cancelled += scope.cancelled_caught
    assert cancelled
    await a.send(b.me, b"still here")
    with trio.fail_after(10):
        payloads = []
        while b"still here" not in payloads or len(payloads) < 31 - cancelled:
            payloads.append((await b.frames.receive()).payload)
    assert set(payloads) == {chunk, b"still here"}


async def test_link_ends_when_neither_side_wants_it(nursery):
    a, b = node(1), node(2)
    await nursery.start(a.run)
    await nursery.start(b.run)
    a.want({b.me: b.addresses()})
    await linked(a)
    await linked(b)
    b.want({a.me: a.addresses()})
    await b.send(a.me, b"after want")
    await a.frames.receive()
    a.want({})
    await a.send(b.me, b"after unwant")
    await b.frames.receive()
    assert b.me in a.links()
    b.want({})
    assert (await unlinked(a)).reason == "no longer wanted"
    assert (await unlinked(b)).reason == "no longer wanted"


async def test_drop_tells_the_reason(nursery):
    a, b = node(1), node(2)
    await nursery.start(a.run)
    await nursery.start(b.run)
    a.want({b.me: b.addresses()})
    await linked(b)
    b.drop(a.me, "evicted: left the mesh")
    assert (await unlinked(a)).reason == "evicted: left the mesh"


async def test_restarted_peer_is_linked_again_at_once(nursery):
    a, b = node(1), node(2)
    await nursery.start(a.run)
    async with trio.open_nursery() as inner:
        await inner.start(b.run)
        address = b.addresses()
        a.want({b.me: address})
        await linked(a)
        inner.cancel_scope.cancel()
    assert (await unlinked(a)).reason == "closed by peer"
    again = node(2, listen=address)
    await nursery.start(again.run)
    await linked(a)
    await a.send(again.me, b"hello again")
    assert (await again.frames.receive()).payload == b"hello again"


async def test_wrong_network_key_and_wrong_identity_are_told_apart(nursery):
    profile = LinkProfile(dial_timeout_s=2)
    a = node(1, profile=profile)
    other_mesh, somebody_else = node(2, key=b"x" * 32, profile=profile), node(3, profile=profile)
    await nursery.start(a.run)
    await nursery.start(other_mesh.run)
    await nursery.start(somebody_else.run)
    absent = node(4)
    a.want(
        {
            other_mesh.me: other_mesh.addresses(),
            absent.me: somebody_else.addresses(),
            node(5).me: ["/ip4/127.0.0.1/tcp/1"],
            node(6).me: [],
        }
    )
    with trio.fail_after(5):
        while "dialling" in a.troubles().values():
            await trio.sleep(0.02)
    troubles = a.troubles()
    assert "network key" in troubles[other_mesh.me]
    assert "another node answers" in troubles[absent.me]
    assert "refused" in troubles[node(5).me]
    assert "no address" in troubles[node(6).me]


async def test_one_dead_address_does_not_delay_the_good_one(nursery):
    a, b = node(1), node(2)
    await nursery.start(a.run)
    await nursery.start(b.run)
    start = trio.current_time()
    a.want({b.me: ["/ip4/127.0.0.1/tcp/1", "/ip4/192.0.2.1/tcp/9", *b.addresses()]})
    await linked(a)
    assert trio.current_time() - start < 1.0


async def test_tap_sees_clear_frames(nursery):
    seen = []
    a = node(1, tap=lambda way, peer, payload: seen.append((way, peer, payload)))
    b = node(2)
    await nursery.start(a.run)
    await nursery.start(b.run)
    a.want({b.me: b.addresses()})
    await linked(a)
    await a.send(b.me, b"out")
    await b.frames.receive()
    await b.send(a.me, b"in")
    await a.frames.receive()
    assert seen == [("sent", b.me, b"out"), ("received", b.me, b"in")]
