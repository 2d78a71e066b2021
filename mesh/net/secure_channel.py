"""From a TCP socket to an authenticated, multiplexed connection: libp2p's Noise and Yamux, hardened.

Decides what of libp2p runs in this project: multistream-select, the private-network cipher, Noise XX and
Yamux, assembled here without libp2p's Swarm, Host, peer store, connection manager or dialler. What the
Swarm gets wrong (plaintext accepted, slots never freed, handler errors that end the host, redials blocked
for a minute, addresses raced with sleeps) is then not there to be patched. What Noise and Yamux get wrong is:

- a cancelled write leaves half a Noise message on the wire  -> frame writes are shielded; `abort` ends them
- a write to a dead socket succeeds silently                 -> SocketPipe raises
- Yamux pings from its reader, which blocks behind a full socket: two busy ends wait for each other
                                                             -> no Yamux pings; liveness is ours
- /plaintext, /secio, /tls and mplex may be negotiated       -> only /noise and /yamux/1.0.0 exist
- IPv6 peers have no remote address                          -> read from the socket

Invariant: a `SecureChannel` exists only for a peer that proved its Ed25519 key (and knows the network key).

Source: libp2p noise and yamux specifications; libp2p 0.8.1 as measured.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

import nacl.signing
import trio

from mesh.net.addresses import format_address
from mesh.net.parts import (
    FLAG_ACK,
    NOISE,
    TYPE_PING,
    YAMUX,
    YAMUX_HEADER_FORMAT,
    ConnectionClosedError,
    Ed25519PrivateKey,
    Ed25519PublicKey,
    IOException,
    KeyPair,
    MuxedConnUnavailable,
    MuxedStreamError,
    NoiseTransport,
    PeerName,
    RawConnection,
    ReadWriteCloser,
    TransportUpgrader,
    Yamux,
    new_noise_keys,
    new_protected_conn,
)
from mesh.net.profile import LAN, LinkProfile
from protocols.errors import ConfigError, TransportError
from protocols.identifiers import PartyId

READ_AHEAD_BYTES = 128 * 1024
UNASKED_PONG = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_ACK, 0, 0)

MUX_ERRORS = (MuxedStreamError, MuxedConnUnavailable, IOException, OSError)
"""What libp2p raises when a connection or stream has ended under us."""

ED25519_ID = bytes.fromhex("002408011220")
"""Identity multihash of 36 bytes; protobuf PublicKey: type Ed25519, 32 bytes of key follow."""


def peer_id(party: PartyId) -> PeerName:
    """libp2p's name of a party."""
    return PeerName.from_pubkey(Ed25519PublicKey.from_bytes(bytes(party)))


def party_id(peer: PeerName) -> PartyId:
    """The party behind a libp2p name. Raises TransportError if its key is not Ed25519."""
    raw = peer.to_bytes()
    if len(raw) != len(ED25519_ID) + PartyId.SIZE or not raw.startswith(ED25519_ID):
        raise TransportError("the peer's identity is not an Ed25519 key", code="C-506")
    return PartyId(raw[len(ED25519_ID) :])


class SocketPipe(ReadWriteCloser):
    """A TCP stream as libp2p wants it: reads exactly what was asked, counts, never fails silently."""

    def __init__(self, stream: trio.SocketStream, profile: LinkProfile) -> None:
        self._stream = stream
        self._chunk = b""
        self._offset = 0
        self.write_bytes = profile.write_bytes
        self.bytes_read = 0
        self.bytes_written = 0
        self.last_read = trio.current_time()
        self.last_write = self.last_read
        self.remote = format_address(stream.socket.getpeername())
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, profile.unsent_bytes)
        if profile.receive_bytes:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, profile.receive_bytes)

    async def read(self, n: int | None = None) -> bytes:
        """Exactly n bytes, fewer only at the end of the stream; without n whatever there is."""
        if n is None:
            n = max(len(self._chunk) - self._offset, 1)
        parts: list[bytes] = []
        missing = n
        while missing > 0:
            if self._offset == len(self._chunk) and not await self._refill():
                break
            part = self._chunk[self._offset : self._offset + missing]
            self._offset += len(part)
            missing -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _refill(self) -> bool:
        try:
            self._chunk = bytes(await self._stream.receive_some(READ_AHEAD_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError("connection closed", transport="tcp") from error
        self._offset = 0
        self.bytes_read += len(self._chunk)
        self.last_read = trio.current_time()
        return bool(self._chunk)

    async def write(self, data: bytes) -> None:
        """All of it. Raises ConnectionClosedError, also when we closed the socket ourselves."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError("connection closed", transport="tcp") from error
        self.bytes_written += len(data)
        self.last_write = trio.current_time()

    async def close(self) -> None:
        """Close the socket; pending reads and writes end with ConnectionClosedError."""
        self.abort()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """`close` without a checkpoint."""
        self._stream.socket.close()

    def finish_writing(self) -> None:
        """Tell the other side that nothing more comes."""
        try:
            self._stream.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def get_remote_address(self) -> tuple[str, int] | None:
        """Host and port of the other side, IPv6 included."""
        try:
            address = self._stream.socket.getpeername()
        except OSError:
            return None
        return str(address[0]), int(address[1])


class HardenedYamux(Yamux):
    """Yamux whose frames are written whole or not at all, and that never pings by itself."""

    async def _write_frame(self, data: bytes) -> None:
        with trio.CancelScope(shield=True):
            async with self._write_lock:
                await self.secured_conn.write(data)

    async def beat(self) -> None:
        """A ping answer that nobody asked for: Yamux notes it and does nothing."""
        await self._write_frame(UNASKED_PONG)

    async def _measure_rtt_loop(self) -> None:
        await trio.lowlevel.checkpoint()


@dataclass(frozen=True, slots=True, eq=False)
class SecureChannel:
    """One connection to a peer whose key was proved."""

    peer: PartyId
    pipe: SocketPipe
    mux: HardenedYamux


class ChannelMaker:
    """Upgrades TCP streams with our identity and network key."""

    def __init__(self, identity_seed: bytes, network_key: bytes | None, profile: LinkProfile = LAN) -> None:
        """Raises ConfigError if a key has the wrong size."""
        if len(identity_seed) != 32:
            raise ConfigError(
                "the identity seed is not 32 bytes", code="C-112", fix="run `coppice init` again"
            )
        if network_key is not None and len(network_key) != 32:
            raise ConfigError(
                "the network key is not 32 bytes", code="C-112", fix="use the key of the ticket"
            )
        private = Ed25519PrivateKey.from_bytes(identity_seed)
        keys = KeyPair(private, private.get_public_key())
        self.me = PartyId(bytes(nacl.signing.SigningKey(identity_seed).verify_key))
        self._profile = profile
        self._network_key = None if network_key is None else network_key.hex()
        noise = NoiseTransport(keys, noise_privkey=new_noise_keys().private_key)
        self._upgrader = TransportUpgrader({NOISE: noise}, {YAMUX: HardenedYamux})

    async def outbound(self, stream: trio.SocketStream, peer: PartyId) -> SecureChannel:
        """Prove ourselves to `peer` and have it prove its key. Raises TransportError."""
        return await self._upgrade(stream, peer)

    async def inbound(self, stream: trio.SocketStream) -> SecureChannel:
        """Have whoever connected prove its key. Raises TransportError."""
        return await self._upgrade(stream, None)

    async def _upgrade(self, stream: trio.SocketStream, expected: PartyId | None) -> SecureChannel:
        try:
            pipe = SocketPipe(stream, self._profile)
            raw = RawConnection(pipe, expected is not None)
            if self._network_key is not None:
                raw = new_protected_conn(raw, self._network_key)
            wanted = None if expected is None else peer_id(expected)
            secured = await self._upgrader.upgrade_security(raw, expected is not None, wanted)
            peer = party_id(secured.get_remote_peer())
            muxer = await self._upgrader.muxer_multistream.select_transport(secured)
            assert muxer is HardenedYamux
            mux = HardenedYamux(secured, secured.get_remote_peer())
        except TransportError:
            raise
        except Exception as error:
            raise TransportError(_why(error), code="C-506") from error
        if expected is not None and peer != expected:
            raise TransportError("another node answers at this address", code="C-506")
        return SecureChannel(peer, pipe, mux)


def _why(error: BaseException) -> str:
    """What a person can do something with; libp2p's own words name internals."""
    chain: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    if "PeerIDMismatchesPubkey" in chain:
        return "another node answers at this address"
    if "OSError" in chain or "ConnectionResetError" in chain:
        return "the connection broke during the handshake"
    return "the handshake failed: another network key, or not a node of ours"
