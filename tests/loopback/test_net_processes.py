"""Links between processes: forked after one import, killed, stopped, busy, idle."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager

import pytest
import trio
from nacl.signing import SigningKey

from mesh.net.profile import LinkProfile
from mesh.net.transport import Lane
from protocols.identifiers import PartyId
from tests.loopback.net_nodes import linked, node, seed, stock_host, unlinked

CHILD = 50


@contextmanager
def forked(main):
    """A child process that runs `main(say)` under trio; yields its pid and the first line it said."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(read)
            trio.run(main, lambda line: os.write(write, line.encode() + b"\n"))
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    try:
        with os.fdopen(read) as lines:
            yield pid, lines.readline().strip()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


async def echo(say):
    """Our node in a child: sends short frames back, says how long others were; to a question it answers
    how many bytes had arrived before it."""
    me = node(CHILD, profile=LinkProfile(detect_s=30))
    async with trio.open_nursery() as nursery:
        await nursery.start(me.run)
        say(me.addresses()[0])
        async for frame in me.frames:
            answer = frame.payload
            if answer == b"how many?":
                answer = b"%d" % me.links()[frame.sender].bytes_received
            elif len(answer) > 1024:
                answer = b"taken"
            await me.send(frame.sender, answer)


async def stock_echo(say):
    from libp2p.crypto.ed25519 import create_new_key_pair

    async with stock_host(key_pair=create_new_key_pair(seed(CHILD))) as (_, port):
        say(f"/ip4/127.0.0.1/tcp/{port}")
        await trio.sleep_forever()


@pytest.fixture
def our_child(_imported_in_full):
    """Forked before the test's own loop starts."""
    with forked(echo) as child:
        yield child


@pytest.fixture
def stock_child(_imported_in_full):
    with forked(stock_echo) as child:
        yield child


def child_id() -> PartyId:
    return PartyId(bytes(SigningKey(seed(CHILD)).verify_key))


@pytest.fixture
def _imported_in_full():
    """The parent of a fork may have imported all of libp2p."""
    from libp2p import new_host  # noqa: F401


async def test_forked_peer_is_linked_and_its_kill_is_noticed_at_once(nursery, our_child):
    pid, address = our_child
    a = node(1)
    await nursery.start(a.run)
    start = trio.current_time()
    a.want({child_id(): [address]})
    await linked(a)
    assert trio.current_time() - start < 1.0
    await a.send(child_id(), b"hello")
    assert (await a.frames.receive()).payload == b"hello"
    start = trio.current_time()
    os.kill(pid, signal.SIGKILL)
    await unlinked(a)
    assert trio.current_time() - start < 0.5


async def test_stopped_peer_is_noticed_within_3_s(nursery, our_child):
    pid, address = our_child
    a = node(1)
    await nursery.start(a.run)
    a.want({child_id(): [address]})
    await linked(a)
    await a.send(child_id(), b"hello")
    await a.frames.receive()
    start = trio.current_time()
    os.kill(pid, signal.SIGSTOP)
    assert "nothing received" in (await unlinked(a)).reason
    assert 1.0 < trio.current_time() - start < 3.05
    os.kill(pid, signal.SIGCONT)
    await linked(a, within_s=12)


async def test_stock_host_does_not_notice_a_stopped_peer(stock_child):
    from libp2p.peer.peerinfo import PeerInfo
    from multiaddr import Multiaddr

    from mesh.net.secure_channel import peer_id

    pid, address = stock_child
    async with stock_host() as (host, _):
        await host.connect(PeerInfo(peer_id(child_id()), [Multiaddr(address)]))
        os.kill(pid, signal.SIGSTOP)
        with trio.move_on_after(3.5):
            while peer_id(child_id()) in host.get_network().connections:
                await trio.sleep(0.05)
        assert peer_id(child_id()) in host.get_network().connections
        os.kill(pid, signal.SIGKILL)


async def test_own_standstill_is_not_the_peers_fault(nursery, our_child):
    """This process does nothing for longer than detect_s; the link survives."""
    _, address = our_child
    a = node(1)
    await nursery.start(a.run)
    a.want({child_id(): [address]})
    await linked(a)
    time.sleep(3.2)  # the loop stands still for longer than detect_s
    await a.send(child_id(), b"still there")
    with trio.fail_after(2):
        assert (await a.frames.receive()).payload == b"still there"
    with pytest.raises(trio.WouldBlock):
        a.events.receive_nowait()


async def test_control_frames_wait_behind_little_bulk(nursery, our_child):
    """40 MB of bulk one way, questions on the control lane meanwhile: how many bytes went before each?

    Counted in bytes, not in seconds, so that a busy machine does not matter: 300 kB are usual (6-30 ms);
    on the bulk lane it would be the outbox and the credit, 5 MB.
    """
    _, address = our_child
    a = node(1)
    await nursery.start(a.run)
    a.want({child_id(): [address]})
    await linked(a)
    block, blocks = os.urandom(2 * 1024 * 1024), 20
    taken = 0
    before: list[int] = []
    answers_in, answers = trio.open_memory_channel[int](1)

    async def read():
        nonlocal taken
        async for frame in a.frames:
            if frame.payload == b"taken":
                taken += 1
            else:
                await answers_in.send(int(frame.payload))

    async def flood():
        for _ in range(blocks):
            await a.send(child_id(), block, Lane.BULK)

    nursery.start_soon(read)
    nursery.start_soon(flood)
    with trio.fail_after(60):
        while taken < blocks:
            sent = a.links()[child_id()].bytes_sent
            await a.send(child_id(), b"how many?")
            before.append(await answers.receive() - sent)
    before.sort()
    assert len(before) > 5
    assert before[int(0.99 * len(before))] < 800_000
