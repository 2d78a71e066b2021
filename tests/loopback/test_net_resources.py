"""What links cost and leave behind: sockets, addresses, files, idle time, and strangers who waste them."""

from __future__ import annotations

import contextlib
import gc
import os
import time

import pytest
import trio
import trio.testing

from mesh.net import liveness
from mesh.net.link import Lanes
from mesh.net.profile import LinkProfile
from mesh.net.secure_channel import ChannelMaker
from mesh.net.transport import (
    Admission,
    LinkDown,
    Verdict,
)
from protocols.errors import ConfigError, LocalMisuse
from tests.loopback.net_nodes import KEY, LOOPBACK, linked, meet, node, seed


async def test_own_identity_is_refused(nursery):
    a, twin = node(1), node(1)
    await nursery.start(a.run)
    with pytest.raises(LocalMisuse):
        a.want({a.me: a.addresses()})
    maker = ChannelMaker(seed(1), KEY)
    host, port = a.addresses()[0].split("/")[2::2]
    stream = await trio.open_tcp_stream(host, int(port))
    channel = await maker.outbound(stream, a.me)
    nursery.start_soon(channel.mux.start)
    lanes = await Lanes.open(channel)
    from mesh.net.framing import Hello
    from mesh.net.link import RefusedByThem, introduce_dialler

    with pytest.raises(RefusedByThem, match="one identity"):
        await introduce_dialler(lanes, Hello(b"", True), lambda blob: Verdict(Admission.MEMBER))
    channel.pipe.abort()
    assert twin.me == a.me


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_closing_leaves_nothing():
    async def round_trip():
        nodes = [node(i) for i in range(1, 4)]
        async with trio.open_nursery() as nursery:
            for one in nodes:
                await nursery.start(one.run)
            meet(*nodes)
            for one in nodes:
                await linked(one)
                await linked(one)
            addresses = [one.addresses()[0] for one in nodes]
            nursery.cancel_scope.cancel()
        for one in nodes:
            left = [event async for event in one.events]
            assert [type(event) for event in left] == [LinkDown, LinkDown]
            assert not one.links()
        return addresses

    await round_trip()
    gc.collect()
    files, tasks = open_files(), trio.lowlevel.current_statistics().tasks_living
    addresses = await round_trip()
    gc.collect()
    assert open_files() == files
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    for address in addresses:
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", int(address.split("/")[4]))


async def test_port_in_use_is_said_and_nothing_stays_open(nursery):
    a = node(1)
    await nursery.start(a.run)
    before = open_files()
    b = node(2, listen=(LOOPBACK, a.addresses()[0]))
    with pytest.raises(ConfigError) as caught:
        await b.run()
    assert caught.value.code == "C-111"
    assert a.addresses()[0] in str(caught.value)
    assert caught.value.fix
    assert open_files() == before


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:80",
        "/ip4/127.0.0.1/udp/1",
        "/ip4/300.0.0.1/tcp/1",
        "/ip4/::1/tcp/1",
        "/ip4/1.2.3.4/tcp/99999",
    ],
)
async def test_bad_listen_addresses_are_named(address):
    with pytest.raises(ConfigError, match="not an address"):
        await node(1, listen=(address,)).run()


async def test_foreign_address_is_refused_with_a_fix():
    with pytest.raises(ConfigError, match=r"192\.0\.2\.77") as caught:
        await node(1, listen=("/ip4/192.0.2.77/tcp/0",)).run()
    assert "0.0.0.0" in caught.value.fix


async def test_wildcard_publishes_interfaces(nursery):
    a = node(1, listen=("/ip4/0.0.0.0/tcp/0",))
    await nursery.start(a.run)
    assert a.addresses()
    assert not any("0.0.0.0" in address for address in a.addresses())


async def test_silent_connections_do_not_keep_honest_ones_out(nursery):
    a, b = node(1, profile=LinkProfile(max_pending=4)), node(2)
    await nursery.start(a.run)
    await nursery.start(b.run)
    port = int(a.addresses()[0].split("/")[4])
    silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(40)]
    b.want({a.me: a.addresses()})
    await linked(b)
    assert len(a._pending) <= 4
    closed = 0
    for stream in silent:
        with trio.move_on_after(0.05):
            while await stream.receive_some():
                pass
            closed += 1
    assert closed >= 36
    for stream in silent:
        await stream.aclose()


async def test_garbage_from_outside_ends_only_its_connection(nursery):
    a, b = node(1), node(2)
    await nursery.start(a.run)
    await nursery.start(b.run)
    port = int(a.addresses()[0].split("/")[4])
    for garbage in (b"GET / HTTP/1.1\r\n\r\n" * 20, bytes(4096), b"\xff" * 4096, os.urandom(65536)):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(garbage)
            await stream.send_eof()
            with trio.fail_after(10):
                while await stream.receive_some():
                    pass
    b.want({a.me: a.addresses()})
    await linked(b)


async def test_simultaneous_dials_give_one_link_every_time():
    """Both ends dial at once, again and again, in every order the scheduler comes up with."""
    for _ in range(8):
        async with trio.open_nursery() as nursery:
            a, b = node(1), node(2)
            await nursery.start(a.run)
            await nursery.start(b.run)
            meet(a, b)
            assert (await linked(a)).peer == b.me
            assert (await linked(b)).peer == a.me
            for source, target in ((a, b), (b, a)):
                for number in range(10):
                    await source.send(target.me, bytes([number]))
                with trio.fail_after(2):
                    got = [(await target.frames.receive()).payload[0] for _ in range(10)]
                assert got == list(range(10))
            for one in (a, b):
                with pytest.raises(trio.WouldBlock):
                    one.events.receive_nowait()
            nursery.cancel_scope.cancel()


async def test_idle_mesh_costs_next_to_nothing(nursery, monkeypatch):
    """Eight nodes with seven links each, silent but for beats: CPU of this process, per node."""
    monkeypatch.setattr(liveness, "SETTLING_S", 0.0)
    nodes = [node(i) for i in range(1, 9)]
    for one in nodes:
        await nursery.start(one.run)
    meet(*nodes)
    for one in nodes:
        for _ in range(7):
            await linked(one)
    await trio.sleep(1)
    gc.collect()
    start, cpu = trio.current_time(), time.process_time()
    await trio.sleep(4)
    share = (time.process_time() - cpu) / (trio.current_time() - start) / len(nodes)
    assert share < 0.01
    assert all(len(one.links()) == 7 for one in nodes)
