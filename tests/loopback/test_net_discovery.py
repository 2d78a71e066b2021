"""Discovery on the local network: finds its own mesh, shows others nothing, leaves nothing behind."""

from __future__ import annotations

import os
import threading

import pytest
import trio

from mesh.net.discovery import Candidate, Discovery, mesh_tag, opened_party, sealed_party
from protocols.identifiers import PartyId

OURS, OTHERS = os.urandom(32), os.urandom(32)
A, B = (PartyId(bytes([i]) * 32) for i in (1, 2))


def test_strangers_read_neither_party_nor_mesh_key():
    first, second = sealed_party(OURS, A), sealed_party(OURS, A)
    assert opened_party(OURS, first) == opened_party(OURS, second) == A
    assert first != second
    assert bytes(A) not in first
    assert opened_party(OTHERS, first) is None
    assert mesh_tag(OURS) != mesh_tag(OTHERS)


@pytest.mark.parametrize("forged", [b"", b"x", bytes(72), bytes(500)])
def test_forged_announcements_are_ignored(forged):
    assert opened_party(OURS, forged) is None


async def test_loopback_nodes_do_not_multicast(nursery):
    before = threading.active_count()
    discovery = Discovery(A, OURS, ["/ip4/127.0.0.1/tcp/4001"])
    assert not discovery.worthwhile
    await nursery.start(discovery.run)
    assert threading.active_count() == before


async def test_two_nodes_of_one_mesh_find_each_other(nursery):
    on = ["127.0.0.1"]
    found = []
    nodes = [
        Discovery(A, OURS, ["/ip4/127.0.0.1/tcp/4001"], on),
        Discovery(B, OURS, ["/ip4/127.0.0.1/tcp/4002"], on),
        Discovery(PartyId(bytes(32)), OTHERS, ["/ip4/127.0.0.1/tcp/4003"], on),
    ]
    async with trio.open_nursery() as inner:
        async with trio.open_nursery() as starting:
            for one in nodes:
                starting.start_soon(inner.start, one.run)
        with trio.move_on_after(6):
            found = [await nodes[0].candidates.receive(), await nodes[1].candidates.receive()]
        inner.cancel_scope.cancel()
    if not found:
        pytest.skip("no multicast on this machine")
    assert found == [
        Candidate(B, ("/ip4/127.0.0.1/tcp/4002",)),
        Candidate(A, ("/ip4/127.0.0.1/tcp/4001",)),
    ]
    assert not [thread for thread in threading.enumerate() if "zeroconf" in thread.name.lower()]
