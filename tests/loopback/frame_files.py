"""Frames of a real process kept in a file: each with its length, direction and the other peer."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

from mesh.net.transport import Tap
from mesh.runtime.demo.local_mesh import Peer
from protocols.identifiers import PartyId

_HEAD = struct.Struct(">4s32sI")


def tap_into(peer: Peer) -> Tap:
    """A tap that appends every frame to `frames` in the peer's folder."""
    stream = (peer.home.root / "frames").open("ab", buffering=0)

    def tap(direction: str, other: PartyId, payload: bytes) -> None:
        with contextlib.suppress(OSError):  # one act fills the disk
            stream.write(_HEAD.pack(direction[:4].encode(), bytes(other), len(payload)) + payload)

    return tap


def frames(path: Path) -> Iterator[tuple[str, PartyId, bytes]]:
    """(direction, other peer, payload) of each whole frame."""
    data = path.read_bytes()
    place = 0
    while place + _HEAD.size <= len(data):
        direction, other, size = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        yield direction.decode(), PartyId(other), data[place : place + size]
        place += size
