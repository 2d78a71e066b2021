"""What others measured on such a machine (two cores, loopback), and which lines fall short of it.

MPyC 0.11 and MP-SPDZ's Shamir protocol (C++; with edaBits where that is faster), the better end of each
range. MPyC can be run in the same run (`mpyc_peer`) and then its own figures count; MP-SPDZ is not at hand,
so its record stands in: take it as a mark, not as a ratio of one run. Bytes are a party's at (3, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """Operations a second by (n, t), as the works count them; bytes a party and operation, and rounds."""

    rate: Mapping[tuple[int, int], float]
    bytes_each: float | None = None
    rounds: int | None = None


def _seconds(three: float, operations: float = 1.0) -> Mapping[tuple[int, int], float]:
    return {(3, 1): operations / three}


MP_SPDZ: Mapping[str, Record] = {
    "mul_fxp": Record({(3, 1): 22_500.0, (5, 2): 5_900.0, (7, 3): 2_400.0}, 314),
    "mul_int": Record({(3, 1): 2.2e6, (5, 2): 0.8e6, (7, 3): 0.4e6}),
    "compare": Record({(3, 1): 15_000.0, (5, 2): 3_700.0, (7, 3): 1_800.0}, 482),
    "matmul128": Record(_seconds(1.6)),
    "matvec": Record(_seconds(0.13)),
    "open": Record(_seconds(0.11, 1e6)),
    "input": Record(_seconds(0.14, 1e6)),
    "div": Record(_seconds(1.2, 1e3)),
    "exp": Record(_seconds(1.9, 1e3)),
    "logreg_epoch": Record(_seconds(0.53)),
    "mlp_1": Record(_seconds(0.02)),
    "mlp_32": Record(_seconds(0.66, 32)),
}

MPYC: Mapping[str, Record] = {
    "mul_fxp": Record({(3, 1): 4_200.0, (5, 2): 1_300.0, (7, 3): 350.0}, 438, 2),
    "mul_int": Record({(3, 1): 199e3, (5, 2): 80e3, (7, 3): 32e3}, None, 1),
    "compare": Record({(3, 1): 1_400.0, (5, 2): 500.0, (7, 3): 160.0}, 1397, 9),
    "matmul128": Record(_seconds(4.7)),
    "matvec": Record(_seconds(0.23)),
    "open": Record(_seconds(0.9, 1e6)),
    "input": Record(_seconds(2.1, 1e6)),
    "div": Record(_seconds(2.9, 1e3), None, 36),
    "exp": Record(_seconds(2.2, 1e3), None, 17),
    "logreg_epoch": Record(_seconds(0.80)),
    "mlp_1": Record(_seconds(0.20)),
    "mlp_32": Record(_seconds(5.2, 32)),
}

BULK = ("open", "input", "mul_int")
"""Vectors over a transport in Python: within BULK_FACTOR of MP-SPDZ instead of ahead."""

BULK_FACTOR = 3.0
MATMUL_S = 0.1
OVER_IDEAL = 1.3
MEMORY = 6.0


def _record(table: Mapping[str, Record], work: str) -> tuple[str, Record] | None:
    found = [name for name in table if work == name or work.startswith(name + "_1e")]
    return (found[0], table[found[0]]) if found else None


def short_of(row: Mapping[str, Any]) -> list[str]:
    """What a line of the table does not reach, in words; nothing if it reaches everything that is known."""
    out = []
    if "over_ideal" in row:
        if row["over_ideal"] > OVER_IDEAL:
            out.append(f"{row['over_ideal']:.2f} of rounds x RTT + bytes / bandwidth, {OVER_IDEAL} asked")
    else:
        out += _slower(row)
    if row["work"] == "matmul128" and row["seconds"] > MATMUL_S and "over_ideal" not in row:
        out.append(f"{row['seconds']:.3f} s, {MATMUL_S} asked")
    if row["memory_ratio"] > MEMORY:
        out.append(f"peak memory {row['memory_ratio']:.1f} times the working set, {MEMORY:g} asked")
    return out + _dearer(row)


def _slower(row: Mapping[str, Any]) -> list[str]:
    out = []
    case = (row["n"], row["t"])
    theirs = _record(MP_SPDZ, row["work"])
    if theirs is not None and case in theirs[1].rate:
        mark = theirs[1].rate[case] / (BULK_FACTOR if theirs[0] in BULK else 1.0)
        if row["rate"] < mark:
            out.append(f"{row['rate']:,.1f}/s, MP-SPDZ's mark is {mark:,.1f}/s")
    mine = _record(MPYC, row["work"])
    ratio = row.get("ratio")
    if ratio is None and mine is not None and case in mine[1].rate:
        ratio = row["rate"] / mine[1].rate[case]
    if ratio is not None and ratio < row["target_ratio"]:
        out.append(f"{ratio:.1f} times MPyC, {row['target_ratio']:g} asked")
    return out


def _dearer(row: Mapping[str, Any]) -> list[str]:
    """More bytes or rounds than somebody else; bytes of MPyC from the same run where there is one."""
    out = []
    records = [(name, _record(table, row["work"])) for name, table in (("MPyC", MPYC), ("MP-SPDZ", MP_SPDZ))]
    for name, found in records:
        if found is None:
            continue
        theirs = found[1].bytes_each if (row["n"], row["t"]) == (3, 1) else None
        if name == "MPyC" and "mpyc_bytes_each" in row:
            theirs = row["mpyc_bytes_each"]
        if theirs is not None and row["bytes_each"] > theirs:
            out.append(f"{row['bytes_each']:,.0f} B a party and operation, {name} {theirs:,.0f}")
        if found[1].rounds is not None and row["rounds"] > found[1].rounds:
            out.append(f"{row['rounds']} rounds, {name} {found[1].rounds}")
    return out
