"""Command line of the benchmarks: `python -m tools.bench --help`."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: idle BLAS threads would count as CPU

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

from protocols.errors import MeshError
from tools.bench import aggregate, flower, journal, mpc, session

LAST = """\
others, each a module of its own:
  python -m tools.bench.engine_speed   arithmetic of the computing engine
"""


def parser() -> argparse.ArgumentParser:
    """All benchmarks and their options."""
    top = argparse.ArgumentParser(
        prog="python -m tools.bench",
        description="Benchmarks: CPU times and ratios, since wall clocks of a busy machine mean little.",
        epilog=LAST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = top.add_subparsers(dest="benchmark", required=True)
    one = kinds.add_parser("aggregate", help="secure aggregation of long vectors: CPU by role, bytes")
    one.add_argument("--devices", type=int, default=10)
    one.add_argument("--length", type=lambda text: int(float(text)), default=100_000)
    one.add_argument("--drop", type=float, default=0.0, help="fraction of devices that vanish")
    one.add_argument("--vanish", choices=("before", "dealt"), default="before", help="when they vanish")
    one.add_argument("--slots", type=int, choices=(1, 2), help="values a coordinate (default: as planned)")
    one.add_argument("--cluster", type=int, help="devices a cluster aims at (default: the mesh's)")
    one.add_argument("--transport", action="store_true", help="also time rounds over processes and links")
    one.add_argument("--transport-devices", type=int, default=8)
    one.add_argument("--rounds", type=int, default=3, help="rounds of each kind over the transport")
    one.add_argument("--against", choices=("flower",), help="run this peer on the same sizes")
    one.add_argument("--flower-python", help="interpreter of Flower's environment")
    one.add_argument("--flower-driver", help="path of flower_secaggplus.py")
    one.add_argument("--json", action="store_true", help="end with one line of JSON")
    three = kinds.add_parser(
        "transport", help="secure and plain rounds over processes and links: wall clock, memory, delays"
    )
    three.add_argument("--devices", type=int, default=8)
    three.add_argument("--length", type=lambda text: int(float(text)), default=1_000_000)
    three.add_argument("--rounds", type=int, default=3, help="rounds of each kind")
    three.add_argument("--mbit", type=float, help="uplink of each node (default: as fast as it goes)")
    three.add_argument("--cold", action="store_true", help="no round before that only warms up")
    three.add_argument("--json", action="store_true", help="end with one line of JSON")
    two = kinds.add_parser("session", help="a session of plain statistics: CPU and bytes of a party by role")
    two.add_argument("--devices", type=int, default=32)
    two.add_argument("--length", type=int, default=16, help="field elements of a device")
    two.add_argument("--cluster", type=int, help="devices a cluster aims at (default: the mesh's)")
    two.add_argument("--json", action="store_true", help="end with one line of JSON")
    four = kinds.add_parser("journal", help="the journal after a crash: until live sessions go on")
    four.add_argument("--sessions", type=int, default=1000, help="in the journal, ended ones included")
    four.add_argument("--live", type=int, default=16, help="of them still open")
    four.add_argument("--devices", type=int, default=16)
    four.add_argument("--length", type=int, default=16, help="field elements of a device")
    four.add_argument("--inputs", action="store_true", help="sessions store no states, only inputs")
    four.add_argument("--json", action="store_true", help="end with one line of JSON")
    three = kinds.add_parser("mpc", help="committee computation between processes, beside MPyC")
    three.add_argument("--committees", default="3,1 5,2 7,2 7,3", help="n,t of each, with spaces")
    three.add_argument("--mode", choices=("P", "A", "P,A"), default="P", help="security modes")
    three.add_argument("--links", default="loopback,wan", help="loopback, wan (20 ms RTT, 50 Mbit/s) or both")
    three.add_argument(
        "--works", "--lines", help="names with commas (default: the issue's list); a wrong one lists them"
    )
    three.add_argument("--repetitions", type=int, default=3)
    three.add_argument("--against", choices=("mpyc",), help="run this peer on the same works")
    three.add_argument("--mpyc-python", help="interpreter of MPyC's environment")
    three.add_argument("--mpyc-driver", help="path of mpyc_bench.py")
    three.add_argument("--timeout", type=float, default=240.0, help="seconds for one committee and link")
    three.add_argument("--json", action="store_true", help="end with one line of JSON")
    return top


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One measurement. Raises MeshError."""
    if options.benchmark == "session":
        return session.measure(options.devices, options.length, options.cluster)
    if options.benchmark == "journal":
        return journal.measure(
            options.sessions, options.live, options.devices, options.length, options.inputs
        )
    if options.benchmark == "mpc":
        return mpc.run(options)
    if options.benchmark == "transport":
        from tools.bench import transport

        return {"exact": True} | transport.measure(
            options.devices, options.length, options.rounds, warm=not options.cold, mbit=options.mbit
        )
    peer = flower.find(options.flower_python, options.flower_driver) if options.against else None
    case = aggregate.Case(
        options.devices, options.length, options.drop, options.slots, options.vanish, options.cluster
    )
    figures = aggregate.measure(case)
    if options.transport:
        from tools.bench import transport

        over = transport.measure(options.transport_devices, options.length, options.rounds)
        figures |= over
        figures["secure_over_plain_in_process"] = figures["secure_over_plain"]
        figures["secure_over_plain"] = over["transport_secure_over_plain"]
        figures["secure_over_plain_kind"] = "median wall clock over real processes and links"
    if peer is not None:
        figures |= flower.compare(peer, figures)
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 1 for a failed benchmark or a wrong sum."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that processes of a mesh are ended too
    try:
        figures = run(options)
    except MeshError as error:
        print(error.sentence(), file=sys.stderr)
        return 1
    for name, value in figures.items():
        if isinstance(value, list):
            continue  # printed as it came, whole in the JSON
        print(f"{name:42s} {value:.6g}" if isinstance(value, float) else f"{name:42s} {value}")
    if options.json:
        print(json.dumps(figures))
    return 0 if figures["exact"] else 1


if __name__ == "__main__":
    sys.exit(main())
