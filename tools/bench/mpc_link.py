"""An emulated link: a TCP proxy that delays every byte and limits each sender's uplink.

    python -m tools.bench.mpc_link '{"routes": [[listen, source, target, port], ...], "delay_s": 0.01, ...}'

A route accepts connections of party `source` on a port and forwards them to party `target`. Bytes are
passed on `delay_s` after they left the sender's uplink, which carries `bytes_per_s` for all of its peers
together: a sender that talks to two peers needs twice the time. No losses, no reordering, no congestion
control: an ideal link of 20 ms RTT and 50 Mbit/s. Both systems under comparison run through the same proxy.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

CHUNK = 1 << 14
MOST_WAITING = 1 << 27


class Uplink:
    """When the bytes that a party handed over have left."""

    def __init__(self, bytes_per_s: float) -> None:
        self._rate = bytes_per_s
        self._free_s = 0.0

    def leaves_s(self, now_s: float, size: int) -> float:
        """The time at which `size` more bytes are gone."""
        self._free_s = max(self._free_s, now_s) + size / self._rate
        return self._free_s


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, uplink: Uplink, delay_s: float
) -> None:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due_s, data = await waiting.get()
            if not data:
                writer.close()
                return
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            writer.write(data)
            await writer.drain()

    task = asyncio.create_task(deliver())
    try:
        while data := await reader.read(CHUNK):
            waiting.put_nowait((uplink.leaves_s(loop.time(), len(data)) + delay_s, data))
    except ConnectionError:
        pass
    waiting.put_nowait((0.0, b""))
    await asyncio.gather(task, return_exceptions=True)


async def serve(spec: dict[str, Any]) -> None:
    """Forward until killed."""
    uplinks: dict[int, Uplink] = {}
    running = []
    for listen, source, target, port in spec["routes"]:
        one = uplinks.setdefault(source, Uplink(spec["bytes_per_s"]))
        two = uplinks.setdefault(target, Uplink(spec["bytes_per_s"]))

        async def accept(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            port: int = port,
            one: Uplink = one,
            two: Uplink = two,
        ) -> None:
            for _ in range(600):
                try:
                    back, forth = await asyncio.open_connection("127.0.0.1", port)
                    break
                except ConnectionError:
                    await asyncio.sleep(0.1)
            else:
                writer.close()
                return
            delay_s = spec["delay_s"]
            await asyncio.gather(_pump(reader, forth, one, delay_s), _pump(back, writer, two, delay_s))

        running.append(await asyncio.start_server(accept, "127.0.0.1", listen))
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in running))


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
