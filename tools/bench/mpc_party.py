"""One member of a committee as a process of its own: the engine over plain framed TCP.

    python -m tools.bench.mpc_party '{"index": 1, "n": 3, "t": 1, "ports": [...], "works": [...], ...}'

A harness of the benchmark, not the mesh's transport: no encryption, no signatures, no journal. Each round's
vector goes to every peer with an 8-byte length in front; the main thread receives, and sends what the socket
takes at once; a thread a peer sends the rest, so that nobody waits for a peer that is sending itself.
Prints one JSON line a work: seconds of each repetition (from a barrier to the outputs), CPU, wire bytes,
rounds, peak memory over what was there before, the most that the program's registers take at once, and which
share of the outputs was right (classes of a model: 99.5 % must be).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import rns
from protocols.arithmetic.xof import Xof
from protocols.circuits.cost import memory
from protocols.circuits.lower import encoded_input
from protocols.engine import boundary
from protocols.engine.committee import Committee, Seat, whole
from protocols.engine.evaluator import Evaluator
from protocols.sharing.prss import deal_keys
from tools.bench.mpc_works import WORKS, Prepared

Words = npt.NDArray[np.uint64]


class Peers:
    """Connections to all other members."""

    def __init__(self, index: int, ports: list[int]) -> None:
        """ports[j - 1]: where member j is reached from here; the own one is listened on."""
        self.sent_bytes = 0
        self._sockets: dict[int, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        self._queues: dict[int, queue.SimpleQueue[memoryview | None]] = {}
        self._queued: dict[int, int] = {}
        self._gone: dict[int, int] = {}
        others = [j for j in range(1, len(ports) + 1) if j != index]
        server = socket.create_server(("127.0.0.1", ports[index - 1]), backlog=16)
        for j in (j for j in others if j > index):
            self._sockets[j] = self._dialled(ports[j - 1])
            self._sockets[j].sendall(struct.pack("<Q", index))
        while len(self._sockets) < len(others):
            accepted, _ = server.accept()
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            (who,) = struct.unpack("<Q", accepted.recv(8, socket.MSG_WAITALL))
            self._sockets[who] = accepted
        server.close()
        for j in others:
            self._queues[j] = queue.SimpleQueue()
            self._queued[j] = self._gone[j] = 0
            thread = threading.Thread(target=self._send, args=(j,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _dialled(self, port: int) -> socket.socket:
        for _ in range(1200):
            try:
                made = socket.create_connection(("127.0.0.1", port))
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return made
            except ConnectionError:
                time.sleep(0.05)
        raise SystemExit(f"nobody listens on {port}")

    def _send(self, j: int) -> None:
        while (data := self._queues[j].get()) is not None:
            self._sockets[j].sendall(data)
            self._gone[j] += 1

    def _hand_over(self, j: int, data: memoryview) -> None:
        """Send now what the socket takes if nothing else waits; the thread sends the rest."""
        if self._queued[j] == self._gone[j]:
            with contextlib.suppress(BlockingIOError):
                data = data[self._sockets[j].send(data, socket.MSG_DONTWAIT) :]
        if data:
            self._queued[j] += 1
            self._queues[j].put(data)

    def send(self, j: int, words: Words) -> None:
        """Queue a vector for one peer."""
        body = np.ascontiguousarray(words).view(np.uint8).data
        self.sent_bytes += 8 + body.nbytes
        header = struct.pack("<Q", body.nbytes)
        if body.nbytes < 1 << 16:
            self._hand_over(j, memoryview(header + bytes(body)))
        else:
            self._hand_over(j, memoryview(header))
            self._hand_over(j, body)

    def receive(self, j: int) -> Words:
        """The next vector of one peer."""
        (size,) = struct.unpack("<Q", self._exactly(j, 8))
        words = np.empty(size // 8, dtype=np.uint64)
        target = words.view(np.uint8).data
        at = 0
        while at < size:
            got = self._sockets[j].recv_into(target[at:])
            if got == 0:
                raise SystemExit("a peer left")
            at += got
        return words

    def _exactly(self, j: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._sockets[j].recv(size - len(data))
            if not more:
                raise SystemExit("a peer left")
            data += more
        return data

    def close(self) -> None:
        """Return when everything queued has been sent."""
        for waiting in self._queues.values():
            waiting.put(None)
        for thread in self._threads:
            thread.join()

    def exchange(self, words: Words) -> dict[int, Words]:
        """Everybody's vector for mine."""
        for j in self._queues:
            self.send(j, words)
        return {j: self.receive(j) for j in self._queues}


class Member:
    """This process."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.index = int(spec["index"])
        self.committee: Committee = whole(spec["n"], spec["t"], spec["mode"])
        self.peers = Peers(self.index, spec["ports"])
        self.keys = deal_keys(spec["n"], spec["t"], bytes(32))[self.index - 1]
        self.runs = 0

    def measured(self, name: str, repetitions: int) -> dict[str, Any]:
        """Repeat a work; the first run warms caches and is not counted."""
        work = WORKS[name]
        prepared = work.prepare(self.committee, work.shapes, work.operations)
        _ = prepared.program.layers, prepared.program.checkpoints  # laid out before the clock runs
        shares = {} if prepared.dealt else self._shares(prepared)
        seconds, cpu = [], []
        for repetition in range(repetitions + 1):
            self.runs += 1
            self.peers.exchange(np.zeros(1, dtype=np.uint64))
            self.peers.exchange(np.zeros(1, dtype=np.uint64))
            _reset_peak()
            before, sent = _peak_bytes(), self.peers.sent_bytes
            began, busy = time.perf_counter(), time.process_time()
            outputs, rounds = self._run(prepared, shares)
            if repetition or repetitions == 0:
                seconds.append(time.perf_counter() - began)
                cpu.append(time.process_time() - busy)
            peak, sent = _peak_bytes() - before, self.peers.sent_bytes - sent
            if repetition < repetitions:
                del outputs
        live, _ = memory(prepared.program, self.committee, [number for number, _ in prepared.inputs])
        ends = 16 * sum(number.count for number, _ in (*prepared.inputs, *prepared.outputs))
        agreed = self._agreed(prepared, outputs)
        return {
            "work": name, "seconds": seconds, "cpu_s": cpu, "wire_bytes": sent, "rounds": rounds,
            "predicted_bytes": prepared.program.sent_bytes(self.committee, self.index),
            "peak_bytes": peak, "working_set_bytes": max(live, ends),
            "agreed": agreed, "exact": agreed >= (0.995 if prepared.tolerance == 0.5 else 1.0),
        }  # fmt: skip

    def _shares(self, prepared: Prepared) -> dict[int, rns.Residues]:
        """This member's shares of all inputs, as an owner would deal them."""
        return {
            number.register: self._dealt(number, values)[self.index - 1].copy()
            for number, values in prepared.inputs
        }

    def _dealt(self, number: Any, values: npt.NDArray[np.float64]) -> rns.Residues:
        seed = Xof(b"d" * 32, "bench/deal", self.runs.to_bytes(4, "big"))
        return boundary.deal(encoded_input(number, values, "x"), self.committee.n, self.committee.t, seed)

    def _run(self, prepared: Prepared, shares: dict[int, rns.Residues]) -> tuple[tuple[Any, ...], int]:
        if prepared.dealt:
            return self._input(prepared), 1
        session = self.runs.to_bytes(4, "big")
        seat = Seat(self.committee, self.keys, bytes([self.index]) * 32, session)
        party = Evaluator(seat, prepared.program, shares)
        while not party.finished:
            party.receive(self.peers.exchange(party.outgoing))
        return party.outputs, party.program.rounds

    def _input(self, prepared: Prepared) -> tuple[Any, ...]:
        """Member 1 deals to all, to t of them seeds; a member is done when it holds its share, checked."""
        number, values = prepared.inputs[0]
        t, session = self.committee.t, self.runs.to_bytes(4, "big")
        if self.index == 1:
            seeds = {j: Xof(b"d" * 32, "bench/seed", session, bytes([j])).read(32) for j in range(2, t + 2)}
            encoded = encoded_input(number, values, "x")
            shares = boundary.deal_seeded(encoded, self.committee.n, t, seeds)
            for j in range(2, self.committee.n + 1):
                word = np.frombuffer(seeds[j], dtype="<u8") if j in seeds else shares[j].ravel()
                self.peers.send(j, word)
            mine = shares[1]
        elif self.index <= t + 1:
            mine = boundary.seeded_share(self.peers.receive(1).tobytes(), number.shape)
        else:
            mine = self.peers.receive(1).reshape(2, *number.shape)
            assert (mine.reshape(2, -1).max(axis=1) < np.array(rns.MODULI, dtype=np.uint64)).all()
        for j in range(2, self.committee.n + 1):  # the owner waits for receipts
            if self.index == 1:
                self.peers.receive(j)
            elif self.index == j:
                self.peers.send(1, np.zeros(1, dtype=np.uint64))
        return (mine,)

    def _agreed(self, prepared: Prepared, outputs: tuple[Any, ...]) -> float:
        """Open up to 5,000 elements of the first output: what part is as it must be; outside the clock."""
        number, exact = prepared.outputs[0]
        flat = np.asarray(outputs[0]).reshape(2, -1)[:, :5000].copy()
        if prepared.opened:
            value = flat
        else:
            everyone = self.peers.exchange(flat.ravel())
            rows = {j: words.reshape(2, -1) for j, words in everyone.items()} | {self.index: flat}
            value = boundary.reconstruct(rows, self.committee.t)
        if exact is None:
            return 1.0
        found = rns.decode(value, number.scale)
        return float((np.abs(found - exact.ravel()[:5000]) <= prepared.tolerance).mean())


def _reset_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak_bytes() -> int:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def main() -> None:
    """Run all works of the specification."""
    spec = json.loads(sys.argv[1])
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    member = Member(spec)
    for name in spec["works"]:
        print(json.dumps(member.measured(name, spec["repetitions"])), flush=True)
    member.peers.exchange(np.zeros(1, dtype=np.uint64))
    member.peers.close()


if __name__ == "__main__":
    main()
