"""MPyC on the same works in the same run: its micro-benchmark driver, and two programs of ours in it.

MPyC may live in an environment of its own; nothing of it is imported here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.errors import ConfigError
from tools.bench.mpc_works import WORKS

DRIVER = "mpyc_bench.py"
PROGRAMS = Path(__file__).resolve().parent / "mpyc_programs.py"
SET_UP = (
    "pip install mpyc==0.11, and name its driver by --mpyc-driver or the folder with it by $COPPICE_PEERS"
)
MOST_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Peer:
    """MPyC's interpreter and driver."""

    python: Path
    driver: Path


def find(python: str | None, driver: str | None) -> Peer:
    """MPyC as named or as found. Raises ConfigError."""
    interpreter = Path(python or os.environ.get("COPPICE_MPYC_PYTHON") or sys.executable)
    folder = os.environ.get("COPPICE_PEERS")
    named = Path(driver) if driver else Path(folder) / DRIVER if folder else None
    if named is None or not named.is_file():
        raise ConfigError("there is no driver for MPyC", fix=SET_UP)
    probe = subprocess.run([str(interpreter), "-c", "import mpyc"], check=False, stderr=subprocess.DEVNULL)
    if probe.returncode:
        raise ConfigError(f"{interpreter} has no MPyC", fix=SET_UP)
    return Peer(interpreter, named.resolve())


def measure(
    peer: Peer, n: int, t: int, reached: list[list[int]], works: Sequence[str], timeout_s: float
) -> dict[str, dict[str, Any]]:
    """Seconds, rate and bytes of each work that MPyC can do, by our name; one repetition after a warm-up."""
    known = {name: WORKS[name] for name in works if WORKS[name].peer}
    drivers = {(work.peer, work.peer_size): work for work in known.values()}
    micro = [f"{p}:{size}:1" for p, size in drivers if p not in ("logreg", "mlp")]
    large = [f"{p}:{size}" for p, size in drivers if p in ("logreg", "mlp")]
    lines: list[dict[str, Any]] = []
    if micro:
        lines += _run(peer.python, peer.driver, n, t, reached, micro, timeout_s)
    if large:
        lines += _run(peer.python, PROGRAMS, n, t, reached, large, timeout_s)
    by_key = {(line["op"], line["n"]): line for line in lines if "median_s" in line}
    found = {}
    for name, work in known.items():
        line = by_key.get((work.peer, work.peer_size)) or _unsized(by_key, work.peer)
        if line is None:
            continue
        size = work.peer_size or 1
        found[name] = {
            "seconds": line["median_s"], "size": size, "rate": size / line["median_s"],
            "bytes_each": line["bytes_party_max"] / size, "cpu_each_s": n * line["cpu_s_party"] / size,
        }  # fmt: skip
    return found


def _unsized(lines: dict[tuple[str, int], dict[str, Any]], name: str) -> dict[str, Any] | None:
    """Works whose driver reports a size of its own: products of matrices."""
    named = [line for (op, _), line in lines.items() if op == name]
    return named[0] if named and name in ("matmul128_fxp", "matvec_fxp") else None


def _run(
    python: Path, program: Path, n: int, t: int, reached: list[list[int]], ops: list[str], timeout_s: float
) -> list[dict[str, Any]]:
    environment = {**os.environ, "OPS": ",".join(ops), "REPS": "1", "OPENBLAS_NUM_THREADS": "1"}
    started = []
    for index in range(n):
        where = [word for port in reached[index] for word in ("-P", f"localhost:{port}")]
        arguments = [str(python), str(program), *where, "-I", str(index), "-T", str(t), "--no-log"]
        started.append(subprocess.Popen(
            arguments, env=environment, text=True, stderr=subprocess.DEVNULL,
            stdout=subprocess.PIPE if index == 0 else subprocess.DEVNULL,
        ))  # fmt: skip
    until = time.monotonic() + timeout_s
    try:
        text = started[0].communicate(timeout=timeout_s)[0]
        for process in started[1:]:
            process.wait(timeout=max(1.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:  # what it has measured until now counts, the rest stays open
        for process in started:
            process.kill()
        text = started[0].communicate()[0]
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
