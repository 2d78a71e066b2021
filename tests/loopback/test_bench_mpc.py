"""Committee computation between real processes: what `explain` foretold is what was measured."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

import pytest

from protocols.circuits.cost import WAN, Link
from protocols.engine.committee import whole
from protocols.errors import LocalMisuse, MeshError
from tools.bench import mpc, mpc_records, mpyc_peer
from tools.bench.mpc_link import Uplink
from tools.bench.mpc_works import DEFAULT, WORKS
from tools.bench.ports import free_ports


@pytest.mark.parametrize("case", [mpc.Case(3, 1, "P", "loopback"), mpc.Case(4, 1, "A", "loopback")], ids=str)
def test_processes_measure_what_was_predicted(case: mpc.Case) -> None:
    """Rounds exactly, bytes on the wire within 25 %, and the results are right."""
    works = ["matvec", "exp_1e3", "input_1e6"] if case.mode == "P" else ["matvec"]
    found = mpc.ours(case, works, 0, 60.0)
    assert list(found) == works
    for name in works:
        figures, work = found[name], WORKS[name]
        assert figures["exact"], name
        if name == "input_1e6":  # no program: a seed to one member, a vector to the other
            assert 0 <= figures["bytes_party"] - 16 * work.operations < 100
            continue
        program = work.prepare(whole(case.n, case.t, case.mode), work.shapes, work.operations).program
        assert figures["rounds"] == program.rounds
        assert figures["predicted_bytes"] <= figures["bytes_party"] <= 1.25 * figures["predicted_bytes"]


def test_an_emulated_link_takes_its_time() -> None:
    """A round cannot be faster than the delay one way; each of the bytes waits for the uplink."""
    found = mpc.ours(mpc.Case(3, 1, "P", "wan"), ["matvec"], 0, 60.0)["matvec"]
    assert found["exact"]
    least = mpc.RTT_S / 2 * found["rounds"] + found["bytes_party"] / mpc.LINK_BYTES_PER_S
    assert found["seconds"] >= 0.9 * least
    assert Link(mpc.RTT_S, mpc.LINK_BYTES_PER_S) == WAN


def test_an_uplink_is_shared_by_all_that_leaves_it() -> None:
    uplink = Uplink(1000.0)
    assert uplink.leaves_s(5.0, 500) == 5.5
    assert uplink.leaves_s(5.1, 500) == 6.0  # the first is still on its way
    assert uplink.leaves_s(9.0, 100) == 9.1  # idle in between


def test_the_proxy_delays_in_both_directions() -> None:
    listen, target = free_ports(2)
    spec = {"routes": [[listen, 0, 1, target]], "delay_s": 0.05, "bytes_per_s": 1e9}
    proxy = subprocess.Popen(
        [sys.executable, "-m", "tools.bench.mpc_link", json.dumps(spec)], stdout=subprocess.PIPE, text=True
    )

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        await writer.drain()

    async def there_and_back() -> float:
        server = await asyncio.start_server(echo, "127.0.0.1", target)
        reader, writer = await asyncio.open_connection("127.0.0.1", listen)
        began = time.perf_counter()
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        took = time.perf_counter() - began
        server.close()
        return took

    try:
        assert proxy.stdout is not None
        assert proxy.stdout.readline().strip() == "ready"
        assert asyncio.run(there_and_back()) >= 0.1
    finally:
        proxy.kill()
        proxy.wait()
        proxy.stdout.close()


def test_lines_that_fall_short_are_named() -> None:
    row = {
        "work": "compare_1e5", "n": 3, "t": 1, "rate": 1e5, "seconds": 1.0, "rounds": 5,
        "target_ratio": 100.0, "memory_ratio": 2.0, "bytes_each": 117.0,
    }  # fmt: skip
    assert [reason for reason in mpc_records.short_of(row) if "MPyC" in reason] == [
        "71.4 times MPyC, 100 asked"
    ]
    assert mpc_records.short_of(row | {"rate": 1e6}) == []
    assert mpc_records.short_of(row | {"ratio": 101.0}) == []  # MPyC in the same run counts, not its record
    dear = mpc_records.short_of(row | {"rate": 1e6, "bytes_each": 500.0, "rounds": 10, "memory_ratio": 9.0})
    assert [next(w for w in ("memory", "10 rounds", "MP-SPDZ") if w in text) for text in dear]
    assert len(dear) == 3
    assert "1.40 of rounds" in mpc_records.short_of(row | {"over_ideal": 1.4})[0]
    assert mpc_records.short_of(row | {"work": "digits_1000", "rate": 0.1, "rounds": 99}) == []
    assert {case.mode for case in mpc.cases("3,1 4,1", "loopback", "P,A")} == {"P", "A"}
    assert [case.n for case in mpc.cases("3,1 4,1", "loopback", "A")] == [4]


def test_mistakes_are_named() -> None:
    with pytest.raises(LocalMisuse, match="no work 'sorcery'"):
        mpc.measure([], ["sorcery"], repetitions=1, peer=None, timeout_s=1.0)
    with pytest.raises(LocalMisuse, match="no link 'moon'"):
        mpc.cases("3,1", "moon", "P")
    with pytest.raises(MeshError, match="no driver for MPyC"):
        mpyc_peer.find(None, "/nowhere/mpyc_bench.py")
    assert set(DEFAULT) <= set(WORKS)
