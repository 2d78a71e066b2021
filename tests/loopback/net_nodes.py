"""Nodes for the network tests: ours, and libp2p's stock host beside it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio

from mesh.net.libp2p_transport import Libp2pTransport
from mesh.net.profile import LinkProfile
from mesh.net.transport import Admission, LinkDown, LinkUp, Verdict

KEY = b"k" * 32
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


def seed(number: int) -> bytes:
    return bytes([number]) * 32


class Gate:
    """Says hello and admits everybody as `default`, or by party as told."""

    def __init__(self, default: Verdict | None = None, blob: bytes = b"certificate") -> None:
        self.default = default or Verdict(Admission.MEMBER)
        self.by_party = {}
        self.blob = blob
        self.asked = []

    def hello(self) -> bytes:
        return self.blob

    def admit(self, peer, hello):
        self.asked.append((peer, hello))
        return self.by_party.get(peer, self.default)


def node(number: int, *, gate=None, key=KEY, listen=(LOOPBACK,), profile=None, tap=None) -> Libp2pTransport:
    return Libp2pTransport(seed(number), key, listen, gate or Gate(), profile or LinkProfile(), tap)


def meet(*nodes: Libp2pTransport) -> None:
    """Everybody wants everybody."""
    for one in nodes:
        one.want({other.me: other.addresses() for other in nodes if other is not one})


async def next_event(transport: Libp2pTransport, kind, within_s: float = 5.0):
    with trio.fail_after(within_s):
        while True:
            event = await transport.events.receive()
            if isinstance(event, kind):
                return event


async def linked(transport: Libp2pTransport, within_s: float = 5.0) -> LinkUp:
    return await next_event(transport, LinkUp, within_s)


async def unlinked(transport: Libp2pTransport, within_s: float = 5.0) -> LinkDown:
    return await next_event(transport, LinkDown, within_s)


@asynccontextmanager
async def stock_host(port: int = 0, key_pair=None, host_ip: str = "127.0.0.1", **options):
    """libp2p's host as its README starts it; yields (host, port)."""
    from libp2p import new_host
    from multiaddr import Multiaddr

    form = "ip6" if ":" in host_ip else "ip4"
    address = Multiaddr(f"/{form}/{host_ip}/tcp/{port}")
    host = new_host(key_pair=key_pair, **options)
    async with host.run(listen_addrs=[address]):
        bound = int(host.get_addrs()[0].value_for_protocol("tcp"))
        try:
            yield host, bound
        finally:
            with trio.CancelScope(shield=True):
                await host.close()
