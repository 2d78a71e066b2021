"""What the emulated links really do, measured from inside the namespaces before any daemon runs.

Round trips: UDP echoes, one at a time. Throughput: one TCP stream for a second and a half, counted at the
receiver over its last two thirds, when slow start is over.

Invariant: traffic goes only between two sites of the lab, bounded in packets and seconds.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from tools.netlab import namespaces
from tools.netlab.topology import Lab, Site

ECHOES = 20
PORT = 4700
PATIENCE_S = 12.0
STREAM_S = 1.6
CHUNK = 16_384
HEADERS = 1500 / (1500 - 52)
"""What a full TCP segment with time stamps weighs on the link over what it carries."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A pair of sites: what the lab says, and what was measured."""

    sites: tuple[str, str]
    rtt_ms: float
    measured_rtt_ms: float
    mbit: float
    measured_mbit: float


def measure(lab: Lab, names: dict[str, str]) -> list[Measured]:
    """The pairs with the shortest and the longest way. `names`: namespace of each site."""
    by_latency = sorted(lab.links, key=lambda pair: (lab.links[pair].latency_ms, pair))
    found = []
    for pair in dict.fromkeys((by_latency[0], by_latency[-1])):
        here, there = (next(site for site in lab.sites if site.name == end) for end in pair)
        spec = lab.links[pair]
        rtt_ms, mbit = _pair(here, there, names)
        found.append(
            Measured(pair, spec.round_trip_ms(), round(rtt_ms, 2), spec.mbit, round(mbit * HEADERS, 2))
        )
    return found


def _pair(here: Site, there: Site, names: dict[str, str]) -> tuple[float, float]:
    """Median round trip in ms, and payload in Mbit/s."""
    server, ready = _fork(names[there.name], lambda writer: _serve(there.host, writer))
    os.read(ready, 1)
    client, echoes = _fork(names[here.name], lambda writer: _call(there.host, writer))
    with os.fdopen(echoes) as stream:
        rtt = stream.read()
    with os.fdopen(ready) as stream:
        rate = stream.read()
    for pid in (server, client):
        os.waitpid(pid, 0)
    return float(json.loads(rtt or "0")), float(json.loads(rate or "0"))


def _fork(namespace: str, work: Callable[[int], None]) -> tuple[int, int]:
    """A process in a namespace, and the end of a pipe on which it answers."""
    reader, writer = os.pipe()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            namespaces.die_with_parent()
            namespaces.enter(namespace)
            work(writer)
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    return pid, reader


def _serve(host: str, writer: int) -> None:
    """Echo datagrams until a stream comes, then count it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo, socket.create_server((host, PORT)) as sink:
        echo.bind((host, PORT))
        echo.settimeout(PATIENCE_S)
        sink.settimeout(PATIENCE_S)
        os.write(writer, b"r")
        while True:
            content, sender = echo.recvfrom(256)
            if content == b"end":
                break
            echo.sendto(content, sender)
        stream, _ = sink.accept()
        stream.settimeout(PATIENCE_S)
        began = time.monotonic()
        counted, first, last = 0, 0.0, 0.0
        while content := stream.recv(CHUNK):
            last = time.monotonic()
            if last - began > STREAM_S / 3:
                first = first or last
                counted += len(content)
        os.write(writer, json.dumps(counted * 8 / 1e6 / max(last - first, 1e-3)).encode())


def _call(host: str, writer: int) -> None:
    """Echoes, then the stream."""
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.settimeout(2.0)
        for number in range(ECHOES):
            began = time.monotonic()
            echo.sendto(b"%d" % number, (host, PORT))
            try:
                while echo.recv(256) != b"%d" % number:
                    continue
            except TimeoutError:
                continue
            times.append((time.monotonic() - began) * 1000)
        for _ in range(5):
            echo.sendto(b"end", (host, PORT))
    with socket.create_connection((host, PORT), PATIENCE_S) as stream:
        until = time.monotonic() + STREAM_S
        while time.monotonic() < until:
            stream.sendall(bytes(CHUNK))
    os.write(writer, json.dumps(statistics.median(times) if times else 0.0).encode())
