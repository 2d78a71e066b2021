"""Finding nodes of our mesh on the local network: multicast DNS that tells strangers nothing.

Announced: service type _coppice._tcp, a random instance name per start, host addresses and port, and two
TXT entries: `m`, a digest by which nodes of one mesh recognise each other, and `p`, the party id sealed
under the network key. Strangers see that some mesh is here; they can neither follow a device from network
to network by its key nor plant candidates. What is found is a candidate only: the handshake proves the key.

python-zeroconf is used directly: it runs its own thread, so starting it (0.5-2 s) and asking it is done from
worker threads, and its callbacks are handed over with `run_sync_soon`. libp2p's wrapper does all of that on
the loop. Nothing is imported and no socket is opened for a node that only listens on loopback.

Source: RFC 6762, RFC 6763. Invariant: every queue is bounded; `run` leaves no thread behind.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nacl.exceptions
import nacl.secret
import trio

from mesh.net.addresses import format_address, is_loopback, parse_address
from protocols.identifiers import PartyId

if TYPE_CHECKING:
    from trio_typing import TaskStatus
    from zeroconf import Zeroconf

logger = logging.getLogger(__name__)

SERVICE = "_coppice._tcp.local."
CANDIDATES_BUFFERED = 64
NAMES_BUFFERED = 256
"""Announcements waiting to be resolved; more are dropped, their owners announce again."""
RESOLVE_MS = 1000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node of this mesh that says it is reachable here."""

    party: PartyId
    addresses: tuple[str, ...]


def _derived(network_key: bytes, purpose: bytes) -> bytes:
    return hashlib.blake2b(purpose, key=network_key, digest_size=32).digest()


def mesh_tag(network_key: bytes) -> bytes:
    """Eight bytes by which nodes of one mesh recognise each other's announcements."""
    return _derived(network_key, b"coppice mdns tag")[:8]


def sealed_party(network_key: bytes, party: PartyId) -> bytes:
    """The party id as announced: 72 bytes that differ at every call."""
    return bytes(nacl.secret.SecretBox(_derived(network_key, b"coppice mdns seal")).encrypt(bytes(party)))


def opened_party(network_key: bytes, sealed: bytes) -> PartyId | None:
    """The party behind `sealed`, or None if somebody without the network key wrote it."""
    try:
        return PartyId(nacl.secret.SecretBox(_derived(network_key, b"coppice mdns seal")).decrypt(sealed))
    except (nacl.exceptions.CryptoError, ValueError, TypeError):
        return None


class Discovery:
    """Announces this node and yields others of the same mesh on `candidates`."""

    def __init__(
        self,
        me: PartyId,
        network_key: bytes,
        addresses: Sequence[str],
        interfaces: Sequence[str] | None = None,
    ) -> None:
        """`addresses`: where we listen. `interfaces`: their numbers, by default those of `addresses`."""
        self._me = me
        self._network_key = network_key
        reachable = [parse_address(address) for address in addresses if not is_loopback(address)]
        if interfaces is not None:
            reachable = [parse_address(address) for address in addresses]
        self._hosts = tuple(dict.fromkeys(host for host, _ in reachable))
        self._port = reachable[0][1] if reachable else 0
        self._interfaces = tuple(interfaces) if interfaces is not None else self._hosts
        self._found, self.candidates = trio.open_memory_channel[Candidate](CANDIDATES_BUFFERED)

    @property
    def worthwhile(self) -> bool:
        """Whether anybody on the local network could reach us."""
        return bool(self._hosts)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Announce and listen until cancelled; without a local network it only waits."""
        if not self.worthwhile:
            task_status.started()
            await trio.sleep_forever()
        names_in, names = trio.open_memory_channel[str](NAMES_BUFFERED)
        token = trio.lowlevel.current_trio_token()

        def heard(name: str) -> None:
            """Called in zeroconf's thread."""
            try:
                token.run_sync_soon(_offer, names_in, name)
            except trio.RunFinishedError:
                return

        try:
            zeroconf = await trio.to_thread.run_sync(self._start, heard)
        except OSError as error:
            logger.warning("no discovery on the local network: %s", error.strerror)
            task_status.started()
            await trio.sleep_forever()
        task_status.started()
        try:
            async for name in names:
                await self._resolve(zeroconf, name)
        finally:
            self._found.close()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(zeroconf.close)

    def _start(self, heard: Any) -> Zeroconf:
        """In a worker thread: sockets, announcement, browser. Raises OSError."""
        from zeroconf import IPVersion, ServiceInfo, ServiceListener, Zeroconf

        instance = os.urandom(6).hex()
        only_v4 = not any(":" in interface for interface in self._interfaces)
        version = IPVersion.V4Only if only_v4 else IPVersion.All
        zeroconf = Zeroconf(interfaces=list(self._interfaces), ip_version=version)
        try:
            info = ServiceInfo(
                SERVICE,
                f"{instance}.{SERVICE}",
                port=self._port,
                properties={
                    b"m": mesh_tag(self._network_key),
                    b"p": sealed_party(self._network_key, self._me),
                },
                server=f"{instance}.local.",
                parsed_addresses=list(self._hosts),
            )
            zeroconf.register_service(info)

            class Ears(ServiceListener):
                def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:  # noqa: ARG002
                    heard(name)

                def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:  # noqa: ARG002
                    heard(name)

                def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
                    """A node that left is noticed by its link."""

            zeroconf.add_service_listener(SERVICE, Ears())
        except BaseException:
            zeroconf.close()
            raise
        return zeroconf

    async def _resolve(self, zeroconf: Zeroconf, name: str) -> None:
        info = await trio.to_thread.run_sync(zeroconf.get_service_info, SERVICE, name, RESOLVE_MS)
        if info is None or info.properties.get(b"m") != mesh_tag(self._network_key):
            return
        party = opened_party(self._network_key, info.properties.get(b"p") or b"")
        if party is None or party == self._me or not info.port:
            return
        addresses = tuple(format_address((host, info.port)) for host in info.parsed_addresses()[:8])
        if addresses:
            _offer(self._found, Candidate(party, addresses))


def _offer(channel: trio.MemorySendChannel[Any], item: object) -> None:
    """Drop what does not fit: announcements repeat."""
    try:
        channel.send_nowait(item)
    except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
        return
