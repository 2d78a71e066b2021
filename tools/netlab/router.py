"""The router between the sites: one process, one thread, an event heap; a TUN device in each namespace.

A packet read from a site's device is given to the link of its pair, which says when it arrives; it waits in
the heap until then and is written to the other site's device. Orders (cut, heal, counts) come over a socket
pair, one JSON object a message.

Invariant: packets go only between devices that this process made itself; what is not IPv4 to a site of the
lab is counted and dropped. The heap is bounded.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable
from dataclasses import asdict

from protocols.errors import ConfigError
from tools.netlab import namespaces
from tools.netlab.links import Link
from tools.netlab.topology import Lab

MAX_PACKET = 65_536
MAX_WAITING = 200_000
MAX_MESSAGE = 262_144
BURST = 64
"""Packets read from one device before the others and the heap have their turn."""
LATE_SAMPLES = 4096


class Router:
    """What runs in the router's process."""

    def __init__(self, lab: Lab, orders: socket.socket, namespaces_by_site: dict[str, str]) -> None:
        self._orders = orders
        self._links = {
            pair: Link(spec, random.Random(f"{lab.seed} {pair[0]} {pair[1]}"))
            for pair, spec in lab.links.items()
        }
        self._heap: list[tuple[float, int, int, bytes]] = []
        self._number = 0
        self._strays = 0
        self._late_ms: list[float] = []
        self._devices: dict[int, str] = {}
        self._by_host: dict[bytes, tuple[str, int]] = {}
        for site in lab.sites:
            namespaces.enter(namespaces_by_site[site.name])
            device = namespaces.open_tun()
            self._devices[device] = site.name
            self._by_host[socket.inet_aton(site.host)] = (site.name, device)

    def run(self) -> None:
        """Serve until the other end of the orders is closed."""
        self._orders.send(b"{}")
        readable = [self._orders.fileno(), *self._devices]
        while True:
            # select takes microseconds, epoll in Python only whole milliseconds
            ready, _, _ = select.select(readable, (), (), self._patience_s())
            self._deliver()
            for descriptor in ready:
                if descriptor in self._devices:
                    self._read(descriptor, self._devices[descriptor])
                elif not self._obey():
                    return

    def _patience_s(self) -> float | None:
        return max(0.0, self._heap[0][0] - time.monotonic()) if self._heap else None

    def _read(self, device: int, site: str) -> None:
        for _ in range(BURST):
            try:
                packet = os.read(device, MAX_PACKET)
            except (BlockingIOError, OSError):
                return
            target = self._by_host.get(packet[16:20]) if packet[0] >> 4 == 4 else None
            if target is None or target[0] == site or len(self._heap) >= MAX_WAITING:
                self._strays += 1
                continue
            arrives = self._links[site, target[0]].send(time.monotonic(), len(packet))
            if arrives is not None:
                self._number += 1
                heapq.heappush(self._heap, (arrives, self._number, target[1], packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, number, device, packet = heapq.heappop(self._heap)
            if number % 16 == 0 and len(self._late_ms) < LATE_SAMPLES:
                self._late_ms.append((now - due) * 1000)
            try:
                os.write(device, packet)
            except OSError:  # the device's own queue is full or its namespace is being removed
                self._strays += 1

    def _obey(self) -> bool:
        message = self._orders.recv(MAX_MESSAGE)
        if not message:
            return False
        order = json.loads(message)
        change = {"cut": 1, "heal": -1}.get(order["do"], 0)
        for a, b in order.get("pairs", ()):
            for pair in ((a, b), (b, a)):
                self._links[pair].cuts = max(0, self._links[pair].cuts + change)
        self._orders.send(json.dumps(self._state() if order["do"] == "counts" else {}).encode())
        return True

    def _state(self) -> dict[str, object]:
        late, self._late_ms = sorted(self._late_ms), []
        return {
            "links": {
                f"{a} {b}": asdict(link.counts) for (a, b), link in self._links.items() if link.counts.packets
            },
            "strays": self._strays,
            "late_p50_ms": round(late[len(late) // 2], 3) if late else 0.0,
            "late_p99_ms": round(late[len(late) * 99 // 100], 3) if late else 0.0,
        }


class RouterProcess:
    """The lab's handle on its router."""

    def __init__(self, lab: Lab, namespaces_by_site: dict[str, str]) -> None:
        """Fork it; it holds all devices when this returns. Raises ConfigError if it does not start."""
        self._lab = lab
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._orders.close()
            _run(lab, theirs, namespaces_by_site)
        theirs.close()
        self._orders.settimeout(10.0)
        if not self._orders.recv(MAX_MESSAGE):
            self.close()
            raise ConfigError("the router did not start", code="C-101", fix="see the lines above")

    def cut(self, what: Iterable[str]) -> None:
        """Cut the link of two sites, or all links of one."""
        self._ask("cut", what)

    def heal(self, what: Iterable[str]) -> None:
        """Undo one cut."""
        self._ask("heal", what)

    def counts(self) -> dict[str, object]:
        """Packets and bytes of every direction, and how late the router itself was."""
        return self._ask("counts", ())

    def close(self) -> None:
        """End it; the devices vanish with it."""
        self._orders.close()
        if self.pid:
            if not namespaces.gone(self.pid, 2.0):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def _ask(self, do: str, what: Iterable[str]) -> dict[str, object]:
        ends = tuple(what)
        others = [site.name for site in self._lab.sites if site.name not in ends]
        pairs = [ends] if len(ends) == 2 else [(end, other) for end in ends for other in others]
        self._orders.send(json.dumps({"do": do, "pairs": pairs}).encode())
        answer: dict[str, object] = json.loads(self._orders.recv(MAX_MESSAGE))
        return answer


def _run(lab: Lab, orders: socket.socket, namespaces_by_site: dict[str, str]) -> None:
    """The router's process. Never returns."""
    code = 1
    try:
        namespaces.die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the lab, which then ends us
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Router(lab, orders, namespaces_by_site).run()
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)
