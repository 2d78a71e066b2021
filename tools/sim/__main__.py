"""`python -m tools.sim`: simulate sessions, meshes or programs under faults.

    run --seeds N [--first S] [--json]     many sessions; the last line is one JSON object
    run --small --seeds N …                many sessions of three devices and one committee of three
    run --storms --seeds N …               many sessions whose parties crash again and again
    run --splices --seeds N …              many sessions in which somebody splices messages
    run --departures --seeds N …           many sessions that members and adders leave for good, in turn
    run --masked --seeds N …               many sessions of masked vectors
    run --mesh --seeds N …                 many meshes: membership, epochs, beacon sessions
    run --programs --seeds N …             many programs of a committee
    run --scenario FILE                    the scenario of a TOML file (see `files`)
    replay [--mesh|…] SEED                 one seed, step by step; also --scenario FILE
    scale [--devices N] [--clusters C]     one big session without faults: cost per role

Exit code 0: no violation; 1: a checker spoke up, with the seed, the commit and the command that replays it;
2: wrong arguments.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from protocols.errors import MeshError
from tools.sim import files, runner, scale
from tools.sim.kinds import KINDS, AnyScenario, Kind

YOUNG_OBJECTS: Final = 50_000
"""A world is many objects that soon go together: looking for cycles among them more often costs a tenth."""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = _parser().parse_args(arguments)
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        if options.verb == "run":
            return _run(options)
        if options.verb == "replay":
            return _replay(options)
        return _scale(options)
    except MeshError as error:
        print(error.sentence(), file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.sim", description="Simulate sessions under faults."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="many seeds, or one scenario file")
    run.add_argument("--seeds", type=int, default=100, help="how many")
    run.add_argument("--first", type=int, default=0, help="the first seed")
    run.add_argument("--json", action="store_true", help="nothing but the JSON object")
    _add_kinds(run)
    run.add_argument("--scenario", type=Path, help="TOML file of scenario fields")
    replay = verbs.add_parser("replay", help="one seed, step by step")
    replay.add_argument("seed", type=int, nargs="?", default=0)
    _add_kinds(replay)
    replay.add_argument("--scenario", type=Path, help="TOML file of scenario fields")
    big = verbs.add_parser("scale", help="cost per role of one big session")
    big.add_argument("--devices", type=int, default=10_000)
    big.add_argument("--clusters", type=int, default=700)
    big.add_argument("--json", action="store_true", help="nothing but the JSON object")
    return parser


def _add_kinds(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(kind=KINDS[0])
    options = parser.add_mutually_exclusive_group()
    for kind in KINDS[1:]:
        options.add_argument(
            f"--{kind.option}", dest="kind", action="store_const", const=kind, help=f"simulate {kind.what}"
        )


def _run(options: argparse.Namespace) -> int:
    kind: Kind = options.kind
    if options.scenario is not None:
        scenarios: Iterable[AnyScenario] = [files.read(options.scenario)]
    else:
        scenarios = map(kind.draw, range(options.first, options.first + options.seeds))

    def tell(failure: runner.Failure) -> None:
        print(f"seed {failure.seed} commit {runner.commit()}: {failure.violations[0]}", file=sys.stderr)
        print(f"  see it again: python -m tools.sim replay {_again(options, failure)}", file=sys.stderr)

    tally = runner.run(scenarios, tell)
    summary = {"kind": kind.option or "sessions", "commit": runner.commit(), **tally.summary()}
    if not options.json:
        rate = f"{summary['seeds_per_second']} a second, {summary['seeds_per_cpu_second']} a second of CPU"
        print(f"{tally.seeds} seeds of {kind.what}: {rate}")
        print(f"{tally.faults} faults, {len(tally.failures)} violations")
    print(json.dumps(summary))
    return 1 if tally.failures else 0


def _again(options: argparse.Namespace, failure: runner.Failure) -> str:
    if options.scenario is not None:
        return f"--scenario {options.scenario}"
    return f"--{options.kind.option} {failure.seed}" if options.kind.option else str(failure.seed)


def _replay(options: argparse.Namespace) -> int:
    given = options.scenario
    scenario = files.read(given) if given is not None else options.kind.draw(options.seed)
    world = runner.simulate(scenario, tracing=True)
    print(f"seed {scenario.seed} commit {runner.commit()}")
    print(scenario)
    for line in world.trace or ():
        print(line)
    print(f"digest {world.digest()}")
    for violation in world.violations:
        print(f"VIOLATION {violation}")
    return 1 if world.violations else 0


def _scale(options: argparse.Namespace) -> int:
    report = scale.compared(scale.measure(options.devices, options.clusters))
    if not options.json:
        print(scale.table(report))
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
