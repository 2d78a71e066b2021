"""What a node goes through while vectors flow: the delay of small messages, and memory beyond rest.

In every peer a task sends a small frame in the control lane to one linked peer after the other, 10
times a second; it carries the machine's monotonic clock, and the receiving node notes the delay where it
would handle a vote: behind the link's queue, the frames that wait for the node, and its event loop. Memory
is the kernel's own high-water mark of resident pages, reset before each measurement.
"""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from mesh.net.channels import MuxStream
from mesh.net.transport import Frame, Lane
from mesh.runtime.demo.local_mesh import LocalMesh
from mesh.runtime.node import Node
from protocols.errors import TransportError

PROBE = b"coppice probe"
PROBES_A_SECOND = 10


@dataclass(frozen=True, slots=True)
class Delays:
    """Of small messages between all peers, in milliseconds."""

    count: int
    median_ms: float
    p99_ms: float
    most_ms: float


def install(folder: Path) -> None:
    """In this process, from which peers are forked: each writes its delays under `folder`."""
    receive, run = Node._receive, Node.run

    async def noting(node: Node, frame: Frame) -> None:
        if not frame.payload.startswith(PROBE):
            await receive(node, frame)
            return
        (sent,) = struct.unpack("!d", frame.payload[len(PROBE) :])
        with (folder / f"{os.getpid()}.delays").open("ab") as file:
            file.write(struct.pack("!dd", sent, time.monotonic() - sent))

    async def probing(node: Node, **options: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_probe, node)
            await run(node, **options)

    for name, value in (("_receive", noting), ("run", probing)):
        setattr(Node, name, value)


def throttle(mbit: float) -> None:
    """In this process, from which peers are forked: each node sends so many Mbit/s at most, over all links.

    That is the uplink of a site: time then depends on bytes, not on how many cores the peers share.
    """
    write, free = MuxStream.write, [0.0]

    async def paced(stream: MuxStream, data: bytes) -> None:
        free[0] = max(free[0], trio.current_time()) + len(data) * 8 / (mbit * 1e6)
        await trio.sleep_until(free[0])
        await write(stream, data)

    setattr(MuxStream, "write", paced)  # noqa: B010 - a method may not be assigned


async def _probe(node: Node) -> None:
    turn = 0
    while True:
        await trio.sleep(1 / PROBES_A_SECOND)
        peers = sorted(peer for peer, info in node.transport.links().items() if not info.guest)
        if not peers:
            continue
        turn += 1
        try:
            frame = PROBE + struct.pack("!d", time.monotonic())
            await node.transport.send(peers[turn % len(peers)], frame, Lane.CONTROL)
        except TransportError:
            continue


def delays(folder: Path, since_s: float, until_s: float) -> Delays:
    """Of what was sent between two moments of the monotonic clock."""
    found = []
    for path in folder.glob("*.delays"):
        content = path.read_bytes()
        pairs = struct.iter_unpack("!dd", content[: len(content) // 16 * 16])
        found += [delay for sent, delay in pairs if since_s <= sent <= until_s]
    found.sort()
    if not found:
        return Delays(0, 0.0, 0.0, 0.0)
    return Delays(
        len(found),
        1000 * found[len(found) // 2],
        1000 * found[min(len(found) - 1, int(len(found) * 0.99))],
        1000 * found[-1],
    )


class Memory:
    """Resident memory of the peers beyond what they had when this was made, in MB."""

    def __init__(self, mesh: LocalMesh) -> None:
        self._before: dict[int, float] = {}
        for peer in mesh.running:
            Path(f"/proc/{peer.pid}/clear_refs").write_text("5")
            self._before[peer.pid] = _of(peer.pid, "VmRSS")

    def grown(self) -> float:
        """The most that any of them needed at once."""
        return max(_of(pid, "VmHWM") - before for pid, before in self._before.items())


def _of(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(field)).split()[1]) / 1000


def describe(prefix: str, figures: Delays) -> dict[str, object]:
    """As figures of a benchmark."""
    return {
        f"{prefix}_messages": figures.count,
        f"{prefix}_median_ms": round(figures.median_ms, 2),
        f"{prefix}_p99_ms": round(figures.p99_ms, 2),
        f"{prefix}_most_ms": round(figures.most_ms, 2),
    }
