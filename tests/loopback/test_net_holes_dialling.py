"""The holes of libp2p 0.8.1 in dialling, in sockets and in logs; see test_net_holes for the others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import trio
import trio.testing

from mesh.net.secure_channel import peer_id
from protocols.errors import ConfigError
from tests.loopback.net_nodes import linked, node, stock_host, unlinked
from tests.loopback.stock_parts import BOTH, party, stock_keys

# --- dialling ---------------------------------------------------------------------------------------


@BOTH
async def test_a_failed_dial_blocks_the_next_one_for_a_minute(which, nursery):
    from libp2p.network.exceptions import SwarmException
    from libp2p.peer.peerinfo import PeerInfo
    from multiaddr import Multiaddr

    probe = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = probe[0].socket.getsockname()[1]
    await probe[0].aclose()
    if which == "stock":
        async with stock_host() as (dialler, _):
            info = PeerInfo(peer_id(party(1)), [Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")])
            with pytest.raises(SwarmException):
                await dialler.connect(info)
            async with stock_host(port=port, key_pair=stock_keys(1)):
                with pytest.raises(SwarmException):
                    await dialler.connect(info)
    else:
        a, b = node(2), node(1, listen=(f"/ip4/127.0.0.1/tcp/{port}",))
        await nursery.start(a.run)
        a.want({b.me: [f"/ip4/127.0.0.1/tcp/{port}"]})
        with trio.fail_after(3):
            while "refused" not in a.troubles()[b.me]:
                await trio.sleep(0.01)
        await nursery.start(b.run)
        await linked(a, within_s=3)


@BOTH
async def test_dialling_sleeps_before_it_starts(which, nursery):
    from libp2p.peer.peerinfo import PeerInfo

    if which == "stock":
        async with stock_host() as (server, _), stock_host() as (dialler, _):
            start = trio.current_time()
            await dialler.connect(PeerInfo(server.get_id(), server.get_addrs()))
            assert trio.current_time() - start >= 0.25
    else:
        times = []
        a = node(1)
        await nursery.start(a.run)
        for number in (2, 3, 4):
            b = node(number)
            await nursery.start(b.run)
            start = trio.current_time()
            b.want({a.me: a.addresses()})
            await linked(b)
            times.append(trio.current_time() - start)
        assert min(times) < 0.25


@BOTH
async def test_known_addresses_are_dialled_unasked(which, nursery):
    from libp2p.network.config import ConnectionConfig

    if which == "stock":
        config = ConnectionConfig(auto_connect_interval=0.05, min_connections=0, low_watermark=1)
        async with stock_host() as (server, _), stock_host(connection_config=config) as (knows, _):
            knows.get_peerstore().add_addrs(server.get_id(), server.get_addrs(), 60)
            with trio.fail_after(15):
                while server.get_id() not in knows.get_network().connections:
                    await trio.sleep(0.02)
    else:
        a, b = node(1), node(2)
        await nursery.start(a.run)
        await nursery.start(b.run)
        a.want({b.me: b.addresses()})
        await linked(a)
        a.want({})
        await unlinked(a)
        for _ in range(200):
            await trio.lowlevel.checkpoint()
        assert not a._pursued
        assert not a._dialling


# --- sockets and logs -------------------------------------------------------------------------------


@BOTH
async def test_two_nodes_share_a_port_silently(which, nursery):
    if which == "stock":
        async with stock_host() as (_, port), stock_host(port=port) as (_, second):
            assert second == port
    else:
        a = node(1)
        await nursery.start(a.run)
        with pytest.raises(ConfigError, match="in use"):
            await node(2, listen=a.addresses()).run()


LOGGING = """
import logging, sys, threading, os
fds = len(os.listdir("/proc/self/fd"))
{statement}
print(len(logging.getLogger().handlers), len(threading.enumerate()))
print(len(os.listdir("/proc/self/fd")) - fds, len(sys.modules))
"""


def run_python(program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": "."}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout + done.stderr


def after_importing(statement: str) -> list[int]:
    return [int(word) for word in run_python(LOGGING.format(statement=statement)).split()]


def test_import_has_no_side_effects_and_loads_half():
    handlers, threads, files, modules = after_importing("import mesh.net.libp2p_transport")
    assert (handlers, threads, files) == (0, 1, 0)
    *_, stock_modules = after_importing("import libp2p")
    assert stock_modules > 1100, "libp2p loads less by itself now: is lazy_packages still worth it?"
    assert modules < 750


SPEAKING = """
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, format="%(message)s")
{statement}
logging.getLogger("libp2p.stream_muxer.yamux").error("peer 192.0.2.1 said no")
print("end")
"""


@BOTH
def test_libp2p_speaks_on_stderr(which):
    statement = "import libp2p" if which == "stock" else "import mesh.net.libp2p_transport"
    out = run_python(SPEAKING.format(statement=statement))
    assert "end" in out
    assert ("said no" in out) == (which == "stock")
