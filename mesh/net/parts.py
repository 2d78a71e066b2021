"""Everything of libp2p that the project uses, in one place: the only import of libp2p there is.

Invariant: `lazy_packages` comes first, so that libp2p's initialisers and what they load stay out.
"""

from __future__ import annotations

import mesh.net.lazy_packages  # noqa: F401

# isort: split
from libp2p.abc import IMuxedStream as IMuxedStream
from libp2p.crypto.ed25519 import Ed25519PrivateKey as Ed25519PrivateKey
from libp2p.crypto.ed25519 import Ed25519PublicKey as Ed25519PublicKey
from libp2p.crypto.keys import KeyPair as KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as new_noise_keys
from libp2p.custom_types import TProtocol as TProtocol
from libp2p.io.abc import ReadWriteCloser as ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError as ConnectionClosedError
from libp2p.io.exceptions import IOException as IOException
from libp2p.network.connection.raw_connection import RawConnection as RawConnection
from libp2p.peer.id import ID as PeerName  # noqa: N811  (a class, not a constant)
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.pnet.protector import new_protected_conn as new_protected_conn
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable as MuxedConnUnavailable
from libp2p.stream_muxer.exceptions import MuxedStreamError as MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import DEFAULT_WINDOW_SIZE as DEFAULT_WINDOW_SIZE
from libp2p.stream_muxer.yamux.yamux import FLAG_ACK as FLAG_ACK
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_NAME
from libp2p.stream_muxer.yamux.yamux import TYPE_PING as TYPE_PING
from libp2p.stream_muxer.yamux.yamux import YAMUX_HEADER_FORMAT as YAMUX_HEADER_FORMAT
from libp2p.stream_muxer.yamux.yamux import Yamux as Yamux
from libp2p.stream_muxer.yamux.yamux import YamuxStream as YamuxStream
from libp2p.transport.upgrader import TransportUpgrader as TransportUpgrader

YAMUX = TProtocol(YAMUX_NAME)

__all__ = [
    "DEFAULT_WINDOW_SIZE",
    "FLAG_ACK",
    "NOISE",
    "TYPE_PING",
    "YAMUX",
    "YAMUX_HEADER_FORMAT",
    "ConnectionClosedError",
    "Ed25519PrivateKey",
    "Ed25519PublicKey",
    "IMuxedStream",
    "IOException",
    "KeyPair",
    "MuxedConnUnavailable",
    "MuxedStreamError",
    "NoiseTransport",
    "PeerName",
    "RawConnection",
    "ReadWriteCloser",
    "TransportUpgrader",
    "Yamux",
    "YamuxStream",
    "new_noise_keys",
    "new_protected_conn",
]
