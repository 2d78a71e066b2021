"""Logistic regression and a perceptron in MPyC, to compare with ours; run by `mpyc_peer`, a process a party.

    OPS=logreg,mlp:32 python mpyc_programs.py -P ... -I i -T t --no-log

Same sizes and the same algorithms as `mpc_works`: an epoch of batches of 128 over 384 rows of 31 columns with
sigmoid in three pieces; 784-128-10 with relu, the scores as result. Imported by nothing: MPyC sets itself up
from the command line when it is imported.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from mpyc.runtime import mpc  # type: ignore[import-untyped]  # MPyC has no types

secfxp = mpc.SecFxp()
rng = np.random.default_rng(1)


def sent() -> int:
    """Bytes of this party until now."""
    return int(sum(p.protocol.nbytes_sent for p in mpc.parties if p.pid != mpc.pid))


async def shared(values: Any) -> Any:
    """Values of party 0 as a secret array."""
    a = mpc.input(secfxp.array(values, integral=False), senders=0)
    await mpc.gather(a)
    return a


async def timed(name: str, size: int, work: Callable[[], Awaitable[None]]) -> None:
    """One line of JSON from party 0."""
    await mpc.transfer(0)
    before, start, busy = sent(), time.perf_counter(), time.process_time()
    await work()
    mine, mine_busy = time.perf_counter() - start, time.process_time() - busy
    seconds, cpu = max(await mpc.transfer(mine)), await mpc.transfer(mine_busy)
    sizes = await mpc.transfer(sent() - before)
    if mpc.pid == 0:
        line = {"op": name, "n": size, "median_s": seconds, "bytes_party_max": max(sizes)}
        print(json.dumps(line | {"cpu_s_party": sum(cpu) / len(cpu)}), flush=True)


async def logreg() -> None:
    """An epoch."""
    x = await shared(rng.uniform(0, 1, (384, 31)))
    y = await shared(rng.integers(0, 2, (384, 1)).astype(float))

    async def epoch() -> None:
        w = secfxp.array(np.zeros((31, 1)), integral=False)
        for k in range(0, 384, 128):
            rows, labels = x[k : k + 128], y[k : k + 128]
            z = rows @ w
            low, high = z < -0.5, z >= 0.5
            p = (1 - low - high) * (z + 0.5) + high
            w = w - np.transpose(rows) @ (p - labels) * (0.5 / 128)
            await mpc.gather(w)

    await timed("logreg", 1, epoch)


async def mlp(size: int) -> None:
    """784-128-10 on `size` images."""
    x = await shared(rng.uniform(0, 1, (size, 784)))
    w1, b1 = await shared(rng.normal(0, 0.05, (784, 128))), await shared(rng.normal(0, 0.1, (1, 128)))
    w2, b2 = await shared(rng.normal(0, 0.1, (128, 10))), await shared(rng.normal(0, 0.1, (1, 10)))

    async def forward() -> None:
        h = x @ w1 + b1
        h = (h >= 0) * h
        await mpc.gather(h @ w2 + b2)

    await timed("mlp", size, forward)


async def main() -> None:
    """Everything that OPS names."""
    await mpc.start()
    for op in os.environ["OPS"].split(","):
        name, *sizes = op.split(":")
        await (logreg() if name == "logreg" else mlp(int(sizes[0])))
    await mpc.shutdown()


mpc.run(main())
