"""Each hole of libp2p 0.8.1 that this layer closes: visible on the stock parts, closed on ours.

When a new libp2p version no longer has a hole, the `stock` half fails: then take our remedy out.
"""

from __future__ import annotations

import struct

import pytest
import trio
import trio.testing

from mesh.net.link import preamble
from mesh.net.profile import LinkProfile
from mesh.net.secure_channel import HardenedYamux, SocketPipe, peer_id
from mesh.net.transport import Admission, Lane, Verdict
from protocols.errors import TransportError
from tests.loopback.net_nodes import Gate, linked, node, seed, stock_host, unlinked
from tests.loopback.stock_parts import BOTH, hand_shaken, party, port_of, stock_keys

# --- identity ---------------------------------------------------------------------------------------


async def plaintext_answer(port: int) -> bytes:
    """What a server says to a client that wants no encryption and no signature."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(b"\x13/multistream/1.0.0\n\x11/plaintext/2.0.0\n")
        got = b""
        with trio.move_on_after(3):
            while b"plaintext" not in got and b"na\n" not in got:
                chunk = await stream.receive_some()
                if not chunk:
                    break
                got += chunk
    return got


@BOTH
async def test_plaintext_without_signature_is_negotiated(which, nursery):
    if which == "stock":
        async with stock_host() as (_, port):
            assert b"/plaintext/2.0.0" in await plaintext_answer(port)
    else:
        a = node(1, key=None)
        await nursery.start(a.run)
        assert b"/plaintext/2.0.0" not in await plaintext_answer(port_of(a))


@BOTH
async def test_anyone_can_pose_as_any_peer(which, nursery):
    """A private key that does not belong to the public key it claims."""
    from libp2p.crypto.keys import KeyPair
    from libp2p.network.connection.raw_connection import RawConnection
    from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
    from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID, Yamux
    from libp2p.transport.upgrader import TransportUpgrader

    victim = stock_keys(7).public_key

    class Forged(type(stock_keys(8).private_key)):
        def get_public_key(self):
            return victim

    forged = KeyPair(Forged.from_bytes(seed(8)), victim)

    async def pose(port: int, server):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        upgrader = TransportUpgrader({PLAINTEXT_PROTOCOL_ID: InsecureTransport(forged)}, {PROTOCOL_ID: Yamux})
        raw = RawConnection(SocketPipe(stream, LinkProfile()), True)
        return await upgrader.upgrade_connection(await upgrader.upgrade_security(raw, True, server), server)

    if which == "stock":
        async with stock_host() as (host, port):
            mux = await pose(port, host.get_id())
            nursery.start_soon(mux.start)
            with trio.fail_after(3):
                while peer_id(party(7)) not in host.get_network().connections:
                    await trio.sleep(0.01)
            await mux.secured_conn.close()
    else:
        gate = Gate()
        a = node(1, key=None, gate=gate)
        await nursery.start(a.run)
        with pytest.raises(Exception, match="secure protocol"):
            await pose(port_of(a), peer_id(a.me))
        assert not gate.asked


@BOTH
async def test_a_stranger_gets_streams(which, nursery):
    """Nobody asks whether this peer may talk to us."""
    if which == "stock":
        async with stock_host() as (host, _):
            answered = trio.Event()

            async def handler(stream):
                answered.set()

            host.set_stream_handler("/app/1", handler)
            async with stock_host() as (stranger, _):
                from libp2p.peer.peerinfo import PeerInfo

                await stranger.connect(PeerInfo(host.get_id(), host.get_addrs()))
                await stranger.new_stream(host.get_id(), ["/app/1"])
                with trio.fail_after(3):
                    await answered.wait()
    else:
        a = node(1, gate=Gate(Verdict(Admission.REFUSED, "no certificate")))
        stranger = node(2)
        await nursery.start(a.run)
        await nursery.start(stranger.run)
        stranger.want({a.me: a.addresses()})
        assert "no certificate" in (await unlinked(stranger)).reason
        with pytest.raises(TransportError):
            await stranger.send(a.me, b"hello")
        with pytest.raises(trio.WouldBlock):
            a.frames.receive_nowait()


# --- faults of one connection that end everything ---------------------------------------------------


@BOTH
async def test_bad_bytes_on_a_stream_end_the_host(which, nursery):
    garbage = b"\x05\xff\xfe\xfd\xfc\n"

    async def attack(port, server, key):
        channel = await hand_shaken(await trio.open_tcp_stream("127.0.0.1", port), 9, server, key)
        async with trio.open_nursery() as inner:
            inner.start_soon(channel.mux.start)
            for _ in range(2):
                stream = await channel.mux.open_stream()
                await stream.write(garbage)
            with trio.move_on_after(1):
                await channel.mux.event_shutting_down.wait()
            channel.pipe.abort()
            inner.cancel_scope.cancel()

    if which == "stock":

        async def attacked_host():
            async with stock_host(key_pair=stock_keys(1)) as (_, port):
                await attack(port, party(1), None)
                await trio.sleep(3)

        with pytest.raises(BaseExceptionGroup) as caught:
            await attacked_host()
        assert caught.group_contains(UnicodeDecodeError)
    else:
        a, b = node(1), node(2)
        await nursery.start(a.run)
        await nursery.start(b.run)
        await attack(port_of(a), a.me, b"k" * 32)
        b.want({a.me: a.addresses()})
        await linked(b)


@BOTH
async def test_ended_connections_keep_their_slots(which, nursery):
    rounds = 5
    if which == "stock":
        async with stock_host(key_pair=stock_keys(1)) as (host, port):
            limiter = host.get_network()._inbound_limiter
            for _ in range(rounds):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                channel = await hand_shaken(stream, 9, party(1), None)
                channel.pipe.abort()
            with trio.move_on_after(2):
                while limiter.borrowed_tokens < rounds or host.get_network().connections:
                    await trio.sleep(0.01)
            assert not host.get_network().connections
            assert limiter.borrowed_tokens == rounds
    else:
        a = node(1, profile=LinkProfile(max_pending=2, max_links=1))
        await nursery.start(a.run)
        for number in range(2, 2 + rounds):
            b = node(number)
            async with trio.open_nursery() as inner:
                await inner.start(b.run)
                b.want({a.me: a.addresses()})
                await linked(b)
                await linked(a)
                inner.cancel_scope.cancel()
            await unlinked(a)
        assert not a._pending


class HalfWay:
    """A secured connection whose write has a point in the middle at which it can be cancelled."""

    is_initiator = True

    def __init__(self):
        self.written = b""
        self.middle = trio.Event()

    async def write(self, data):
        self.written += data[: len(data) // 2]
        self.middle.set()
        await trio.sleep(0.01)
        self.written += data[len(data) // 2 :]


@BOTH
async def test_cancelled_write_leaves_half_a_frame(which, autojump_clock):
    from libp2p.stream_muxer.yamux.yamux import Yamux

    secured = HalfWay()
    mux = (Yamux if which == "stock" else HardenedYamux)(secured, peer_id(party(2)))
    frame = bytes(100)
    async with trio.open_nursery() as inner:
        inner.start_soon(mux._write_frame, frame)
        await secured.middle.wait()
        inner.cancel_scope.cancel()
    assert len(secured.written) == (50 if which == "stock" else 100)


class Sink:
    is_initiator = True

    async def write(self, data):
        await trio.lowlevel.checkpoint()


async def test_zero_window_ends_a_stock_stream_after_5_s(autojump_clock):
    from libp2p.stream_muxer.exceptions import MuxedStreamError
    from libp2p.stream_muxer.yamux.yamux import Yamux

    mux = Yamux(Sink(), peer_id(party(2)))
    stream = await mux.open_stream()
    with pytest.raises(MuxedStreamError, match="window"):
        await stream.write(bytes(300 * 1024))


async def test_our_sender_runs_out_of_credit_before_the_window_does(nursery):
    a, b = node(1), node(2)
    await nursery.start(a.run)
    await nursery.start(b.run)
    a.want({b.me: b.addresses()})
    await linked(a)

    async def flood():
        while True:
            await a.send(b.me, bytes(1024 * 1024), Lane.BULK)

    nursery.start_soon(flood)
    out = a._book.links[b.me]._lanes.out[Lane.BULK]
    with trio.fail_after(10):
        while out._credit > 0:
            await trio.sleep(0.01)
    assert out._stream._stream.send_window > 64 * 1024


@BOTH
async def test_write_to_a_closed_socket_succeeds(which, nursery):
    from libp2p.io.exceptions import ConnectionClosedError
    from libp2p.io.trio import TrioTCPStream

    left, _right = await open_pair(nursery)
    if which == "stock":
        pipe = TrioTCPStream(left)
        await pipe.close()
        await pipe.write(b"lost")
    else:
        pipe = SocketPipe(left, LinkProfile())
        await pipe.close()
        with pytest.raises(ConnectionClosedError):
            await pipe.write(b"lost")


async def open_pair(nursery, host="127.0.0.1"):
    accepted = []

    async def serve(stream):
        accepted.append(stream)
        await trio.sleep_forever()

    async def listen(task_status=trio.TASK_STATUS_IGNORED):
        await trio.serve_tcp(serve, 0, host=host, task_status=task_status)

    listeners = await nursery.start(listen)
    stream = await trio.open_tcp_stream(host, listeners[0].socket.getsockname()[1])
    while not accepted:
        await trio.sleep(0.001)
    return stream, accepted[0]


@BOTH
async def test_ipv6_peers_have_no_address(which, nursery):
    from libp2p.io.trio import TrioTCPStream

    try:
        left, _ = await open_pair(nursery, host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    if which == "stock":
        assert TrioTCPStream(left).get_remote_address() is None
    else:
        pipe = SocketPipe(left, LinkProfile())
        assert pipe.get_remote_address()[0] == "::1"
        assert pipe.remote.startswith("/ip6/::1/tcp/")


@BOTH
async def test_idle_connections_are_pinged_from_the_reader(which, autojump_clock):
    """Two ends whose readers both wait to answer a ping behind a full socket wait for ever."""
    from libp2p.stream_muxer.yamux.yamux import TYPE_PING, Yamux

    class Recorder(Sink):
        kinds = ()

        async def write(self, data):
            self.kinds += (data[1],)

        async def read(self, n=None):
            await trio.sleep_forever()

        async def close(self):
            pass

    secured = Recorder()
    mux = (Yamux if which == "stock" else HardenedYamux)(secured, peer_id(party(2)))
    async with trio.open_nursery() as inner:
        inner.start_soon(mux.start)
        await trio.sleep(100)
        inner.cancel_scope.cancel()
    assert (TYPE_PING in secured.kinds) == (which == "stock")


@BOTH
async def test_a_peer_overruns_its_window(which, nursery):
    """Stock Yamux logs a warning and keeps the bytes; memory is then the only limit."""
    too_much = 8 * 1024 * 1024

    async def overrun(channel, opening: bytes):
        stream = await channel.mux.open_stream()
        other = await channel.mux.open_stream()
        await stream.write(opening)
        await other.write(opening)
        chunk = bytes(60_000)
        for _ in range(too_much // len(chunk)):
            header = struct.pack("!BBHII", 0, 0, 0, stream.stream_id, len(chunk))
            await channel.mux._write_frame(header + chunk)

    if which == "stock":
        async with stock_host(key_pair=stock_keys(1)) as (host, port):
            entered = trio.Event()

            async def handler(stream):
                entered.set()
                await trio.sleep_forever()

            host.set_stream_handler("/app/1", handler)
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            channel = await hand_shaken(stream, 9, party(1), None)
            async with trio.open_nursery() as inner:
                inner.start_soon(channel.mux.start)
                with trio.fail_after(10):
                    await overrun(channel, b"\x13/multistream/1.0.0\n\x07/app/1\n")
                    await entered.wait()
                    held = 0
                    while held < too_much // 2:
                        await trio.sleep(0.01)
                        for conns in host.get_network().connections.values():
                            held = sum(len(b) for c in conns for b in c.muxed_conn.stream_buffers.values())
                channel.pipe.abort()
                inner.cancel_scope.cancel()
    else:
        a = node(1)
        await nursery.start(a.run)
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(a))
        channel = await hand_shaken(stream, 9, a.me, b"k" * 32)

        async with trio.open_nursery() as inner:
            inner.start_soon(channel.mux.start)
            with pytest.raises((Exception, BaseExceptionGroup)), trio.fail_after(10):
                await overrun(channel, preamble(Lane.CONTROL))
            channel.pipe.abort()
            inner.cancel_scope.cancel()
        assert not a.links()
