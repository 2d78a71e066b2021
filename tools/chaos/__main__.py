"""Command line of tools.chaos; see the package."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tools.chaos import idle, price
from tools.chaos.ground import Ground
from tools.chaos.loop import FORM_S, Loop, terminate_politely
from tools.chaos.storm import SOAK_EPOCH_S, SOAK_JOBS, Storm, Weather
from tools.chaos.tally import Tally

SETTLE_S = 8.0
"""After forming, epochs and beacons still go round for a moment; that is not rest."""


def main() -> int:
    """0 if nothing happened that must not."""
    arguments = _parser().parse_args()
    terminate_politely()
    folder = Path(tempfile.mkdtemp(prefix="coppice-chaos-"))
    ok = False
    try:
        settings = {"idle": idle.settings(), "soak": {"mesh.epoch_s": SOAK_EPOCH_S}}.get(arguments.mode)
        ground = Ground(folder, arguments.seed, settings)
        with ground.mesh:
            kinds = {"idle": _idle, "storm": _storm, "soak": _storm, "price": _price}
            code = kinds.get(arguments.mode, _loop)(ground, arguments)
        ok = code == 0
    finally:
        if ok and not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"state folders and logs: {folder}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.chaos", description="Rough handling of real peers")
    modes = parser.add_subparsers(dest="mode", required=True)
    for mode, words in (
        ("kills", "SIGKILL a random peer in each run"),
        ("restarts", "SIGKILL a random peer in each run and start it again at once, in mid-session"),
        ("pauses", "SIGSTOP a random peer for a while in each run"),
        ("storm", "faults all the time over one mesh that never rests; growth is a failure"),
        ("soak", "eight hours' worth of jobs, epochs and faults one after another; growth is a failure"),
        ("price", "what a lost role costs a running session"),
        ("idle", "measure memory and CPU of idle nodes"),
    ):
        sub = modes.add_parser(mode, help=words)
        sub.add_argument("--seed", type=int, default=1)
        sub.add_argument("--json", action="store_true", help="the last line is one JSON object")
        sub.add_argument("--keep", action="store_true", help="keep the state folders")
        if mode == "idle":
            sub.add_argument("--seconds", type=float, default=20.0)
        elif mode in ("storm", "soak"):
            if mode == "storm":
                sub.add_argument("--faults", type=int, default=1000)
            else:
                sub.add_argument("--jobs", type=int, default=SOAK_JOBS)
            sub.add_argument("--minutes", type=float, default=60.0, help="end after these, whatever was done")
            every_s = 1.0 if mode == "storm" else 10.0
            sub.add_argument("--every", type=float, default=every_s, help="mean seconds between faults")
        else:
            sub.add_argument("--runs", type=int, default=100)
            if mode == "price":
                sub.add_argument("--pauses", action="store_true", help="SIGSTOP instead of SIGKILL")
    return parser


def _loop(ground: Ground, arguments: argparse.Namespace) -> int:
    tally = Tally(arguments.seed)
    mode = arguments.mode
    Loop(ground, tally, pauses=mode == "pauses", restarts=mode == "restarts").run(arguments.runs)
    return tally.finish(arguments.json)


def _storm(ground: Ground, arguments: argparse.Namespace) -> int:
    weather = Weather(arguments.seed)
    storm = Storm(ground, weather, arguments.every)
    if arguments.mode == "soak":
        storm.soak(arguments.jobs, arguments.minutes * 60)
    else:
        storm.run(arguments.faults, arguments.minutes * 60)
    if arguments.json:
        print(json.dumps(weather.document()), flush=True)
    else:
        for name, value in weather.document().items():
            print(f"{name:34s} {value}")
    return 0 if weather.ok else 1


def _price(ground: Ground, arguments: argparse.Namespace) -> int:
    ground.mesh.start()
    found = price.measure(ground, arguments.runs, arguments.seed, pauses=arguments.pauses)
    print(json.dumps(found) if arguments.json else found, flush=True)
    verdicts = found["verdicts"]
    assert isinstance(verdicts, dict)
    return 1 if {"wrong", "hung"} & set(verdicts) else 0


def _idle(ground: Ground, arguments: argparse.Namespace) -> int:
    ground.mesh.start()
    ground.mesh.wait_formed(FORM_S)
    time.sleep(SETTLE_S)
    costs = idle.measure(ground, arguments.seconds)
    most = max(cost.rss_mb for cost in costs)
    busiest = max(cost.cpu_percent for cost in costs)
    ok = most <= idle.MAX_RSS_MB and busiest < idle.MAX_CPU_PERCENT
    for cost in costs:
        print(
            f"{cost.name}: {cost.links} links, {cost.rss_mb} MB resident ({cost.pss_mb} MB its share), "
            f"{cost.cpu_percent} % of a core",
            file=sys.stderr if arguments.json else sys.stdout,
        )
    if arguments.json:
        figures = {"ok": ok, "rss_mb": most, "cpu_percent": busiest, "seconds": arguments.seconds}
        print(json.dumps({**figures, "nodes": [asdict(cost) for cost in costs]}), flush=True)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
