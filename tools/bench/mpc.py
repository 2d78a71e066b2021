"""`python -m tools.bench mpc`: committee computation between processes, beside MPyC in the same run.

Ours: one process a member, the engine over plain framed TCP (`mpc_party`), on loopback or through an
emulated link (`mpc_link`: 20 ms RTT, 50 Mbit/s uplink a member). MPyC: its driver `mpyc_bench.py`, one
process a party, over the same loopback or the same proxies. All share the cores of this machine.

MPyC's fixed-point works run at smaller sizes, because their rate does not grow with size and a million would
take minutes; every line states both sizes. Rates are operations a second of the whole committee.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.errors import LocalMisuse
from tools.bench import mpc_records, mpyc_peer
from tools.bench.mpc_works import DEFAULT, WORKS
from tools.bench.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
RTT_S, LINK_BYTES_PER_S = 0.020, 50e6 / 8


@dataclass(frozen=True)
class Case:
    """A committee on a kind of link."""

    n: int
    t: int
    mode: str
    link: str

    def __str__(self) -> str:
        return f"({self.n}, {self.t}) mode {self.mode} {self.link}"


@contextmanager
def addresses(case: Case) -> Iterator[list[list[int]]]:
    """For each member, the port at which it finds every member; proxies in between for an emulated link."""
    ports = free_ports(case.n)
    if case.link == "loopback":
        yield [ports] * case.n
        return
    pairs = [(i, j) for i in range(case.n) for j in range(i + 1, case.n)]
    between = dict(zip(pairs, free_ports(len(pairs)), strict=True))
    routes = [[between[i, j], i, j, ports[j]] for i, j in pairs]
    spec = {"routes": routes, "delay_s": RTT_S / 2, "bytes_per_s": LINK_BYTES_PER_S}
    proxy = subprocess.Popen(
        [sys.executable, "-m", "tools.bench.mpc_link", json.dumps(spec)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert proxy.stdout is not None
        if proxy.stdout.readline().strip() != "ready":
            raise LocalMisuse("the emulated link did not start")
        yield [[between[i, j] if j > i else ports[j] for j in range(case.n)] for i in range(case.n)]
    finally:
        proxy.kill()
        proxy.wait()


def ours(case: Case, works: Sequence[str], repetitions: int, timeout_s: float) -> dict[str, dict[str, Any]]:
    """Figures by work; seconds are the slowest member's, medians over repetitions."""
    with addresses(case) as reached:
        members = [
            subprocess.Popen(
                [sys.executable, "-m", "tools.bench.mpc_party", json.dumps({
                    "index": index + 1, "n": case.n, "t": case.t, "mode": case.mode,
                    "ports": reached[index], "works": list(works), "repetitions": repetitions,
                })],
                cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
            for index in range(case.n)
        ]  # fmt: skip
        lines = _outputs(members, timeout_s)
    figures = {}
    for rows in zip(*([json.loads(line) for line in text] for text in lines), strict=True):
        slowest = [max(times) for times in zip(*(row["seconds"] for row in rows), strict=True)]
        figures[rows[0]["work"]] = {
            "seconds": statistics.median(slowest),
            "cpu_s": sum(statistics.median(row["cpu_s"]) for row in rows),
            "bytes_party": max(row["wire_bytes"] for row in rows),
            "predicted_bytes": max(row["predicted_bytes"] for row in rows),
            "rounds": rows[0]["rounds"],
            "memory_ratio": max(row["peak_bytes"] / row["working_set_bytes"] for row in rows),
            "agreed": min(row["agreed"] for row in rows),
            "exact": all(row["exact"] for row in rows),
        }
    return figures


def _outputs(processes: list[subprocess.Popen[str]], timeout_s: float) -> list[list[str]]:
    """Lines of all processes' stdout. Raises LocalMisuse when one fails; ends all of them in any case."""
    until = time.monotonic() + timeout_s
    try:
        texts = [process.communicate(timeout=max(1.0, until - time.monotonic()))[0] for process in processes]
    except subprocess.TimeoutExpired:
        raise LocalMisuse(f"a member did not end within {timeout_s:g} s", fix="measure fewer works") from None
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    failed = [process.returncode for process in processes if process.returncode]
    if failed:
        raise LocalMisuse(f"a member of the benchmark ended with status {failed[0]}")
    return [text.splitlines() for text in texts]


def measure(
    cases: Sequence[Case],
    works: Sequence[str],
    *,
    repetitions: int,
    peer: mpyc_peer.Peer | None,
    timeout_s: float,
) -> dict[str, Any]:
    """All cases; prints a line a work as it goes."""
    unknown = [name for name in works if name not in WORKS]
    if unknown:
        raise LocalMisuse(f"no work {unknown[0]!r}", fix=f"one of {', '.join(WORKS)}")
    table: list[dict[str, Any]] = []
    short: list[str] = []
    for case in cases:
        print(f"# {case}", flush=True)
        mine = ours(case, works, repetitions, timeout_s)
        if peer is not None:
            for name in works:
                print(_text(_line(case, name, mine[name], None)), flush=True)
        theirs: dict[str, Any] = {}
        if peer is not None and case.mode == "P":
            with addresses(case) as reached:
                theirs = mpyc_peer.measure(peer, case.n, case.t, reached, works, timeout_s)
        for name in works:
            table.append(_line(case, name, mine[name], theirs.get(name)))
            print(_text(table[-1]), flush=True)
            short += [f"{case} {name}: {reason}" for reason in table[-1]["short_of"]]
    print(
        "\n".join(("# short of what is asked", *short)) if short else "# every line is as asked", flush=True
    )
    exact = all(row["exact"] for row in table)
    return {"exact": exact, "cases": len(cases), "short_of": short, "table": table}


def _line(case: Case, name: str, mine: dict[str, Any], theirs: dict[str, Any] | None) -> dict[str, Any]:
    work = WORKS[name]
    row = {
        "case": str(case), "work": name, "n": case.n, "t": case.t, **mine,
        "rate": work.operations / mine["seconds"], "unit": work.unit, "target_ratio": work.target,
        "bytes_each": mine["bytes_party"] / work.operations,
    }  # fmt: skip
    if case.link != "loopback":
        ideal = mine["rounds"] * RTT_S / 2 + mine["bytes_party"] / LINK_BYTES_PER_S
        row["over_ideal"] = mine["seconds"] / (
            mine["rounds"] * RTT_S + mine["bytes_party"] / LINK_BYTES_PER_S
        )
        row["ideal_one_way_s"] = ideal
    if theirs is not None:
        row |= {
            "mpyc_seconds": theirs["seconds"], "mpyc_size": theirs["size"], "mpyc_rate": theirs["rate"],
            "mpyc_bytes_each": theirs["bytes_each"], "ratio": row["rate"] / theirs["rate"],
            "cpu_ratio": theirs["cpu_each_s"] * work.operations / mine["cpu_s"],
        }  # fmt: skip
    row["short_of"] = mpc_records.short_of(row) if case.mode == "P" else []
    return row


def _text(row: dict[str, Any]) -> str:
    text = (
        f"{row['work']:16s} {row['seconds']:8.3f} s {row['rate']:12,.1f} {row['unit']:11s}"
        f" {row['cpu_s']:7.3f} s CPU {row['rounds']:4d} rounds {row['bytes_party']:13,d} B a party,"
        f" {row['bytes_each']:,.0f} each  memory x{row['memory_ratio']:.1f} {row['agreed']:.2%} right"
    )
    if "over_ideal" in row:
        text += f"  {row['over_ideal']:.2f} of rounds x RTT + bytes / bandwidth"
    if "ratio" in row:
        text += f"  MPyC {row['mpyc_rate']:,.1f} (at {row['mpyc_size']}): x{row['ratio']:,.0f}"
        text += f", by CPU x{row['cpu_ratio']:,.0f}, bytes x{row['bytes_each'] / row['mpyc_bytes_each']:.2f}"
    return text


def cases(committees: str, links: str, modes: str) -> list[Case]:
    """From the command line's words; mode A leaves out committees below 3t+1. Raises LocalMisuse."""
    out = []
    for link in links.split(","):
        if link not in ("loopback", "wan"):
            raise LocalMisuse(f"no link {link!r}", fix="loopback, wan or both with a comma")
        for word in committees.split():
            n, t = (int(part) for part in word.split(","))
            out += [Case(n, t, mode, link) for mode in modes.split(",") if mode != "A" or n > 3 * t]
    return out


def run(options: Any) -> dict[str, Any]:
    """The subcommand. Raises LocalMisuse."""
    peer = mpyc_peer.find(options.mpyc_python, options.mpyc_driver) if options.against else None
    works = options.works.split(",") if options.works else DEFAULT
    return measure(
        cases(options.committees, options.links, options.mode), works,
        repetitions=options.repetitions, peer=peer, timeout_s=options.timeout,
    )  # fmt: skip
