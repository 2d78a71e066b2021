"""`python -m tools.sim`: simulate sessions, or the mesh's membership and epochs, under faults.

    run --seeds N [--first S] [--json]     many sessions; the last line is one JSON object
    run --mesh --seeds N …                 many meshes
    run --programs --seeds N …             many programs of a committee
    run --scenario FILE                    the scenario of a TOML file (see `files`)
    replay [--mesh|--programs] SEED        one seed, step by step; also --scenario FILE
    scale [--devices N] [--clusters C]     one big session without faults: cost per role

Exit code 0: no violation; 1: a checker spoke up, with the seed, the commit and the command that replays it;
2: wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from protocols.errors import MeshError
from tools.sim import files, mesh_scenario, program_world, runner, scale
from tools.sim.mesh_scenario import MeshScenario
from tools.sim.mesh_world import MeshWorld
from tools.sim.program_world import ProgramScenario, ProgramWorld
from tools.sim.scenario import Scenario, draw
from tools.sim.world import World


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = _parser().parse_args(arguments)
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
    parser.set_defaults(kind="")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--mesh", dest="kind", action="store_const", const="--mesh ", help="membership and epochs"
    )
    kinds.add_argument(
        "--programs", dest="kind", action="store_const", const="--programs ", help="committee computation"
    )


def _draw(kind: str, seed: int) -> Scenario | MeshScenario | ProgramScenario:
    if kind == "--mesh ":
        return mesh_scenario.draw(seed)
    return program_world.draw(seed) if kind else draw(seed)


def _run(options: argparse.Namespace) -> int:
    if options.scenario is not None:
        again = f"replay --scenario {options.scenario}"
        tally = runner.run([files.read(options.scenario)], lambda failure: _tell(failure, again))
    else:
        seeds = range(options.first, options.first + options.seeds)
        scenarios = (_draw(options.kind, seed) for seed in seeds)
        again = f"replay {options.kind}"
        tally = runner.run(scenarios, lambda failure: _tell(failure, f"{again}{failure.seed}"))
    if not options.json:
        print(f"{tally.seeds} seeds, {tally.faults} faults, {len(tally.failures)} violations")
    print(json.dumps(tally.summary()))
    return 1 if tally.failures else 0


def _tell(failure: runner.Failure, again: str) -> None:
    print(f"seed {failure.seed} commit {runner.commit()}: {failure.violations[0]}", file=sys.stderr)
    print(f"  see it again: python -m tools.sim {again}", file=sys.stderr)


def _replay(options: argparse.Namespace) -> int:
    given = options.scenario
    scenario = files.read(given) if given is not None else _draw(options.kind, options.seed)
    world: World | MeshWorld | ProgramWorld
    if isinstance(scenario, MeshScenario):
        world = runner.simulate_mesh(scenario, tracing=True)
    elif isinstance(scenario, ProgramScenario):
        world = runner.simulate_program(scenario, tracing=True)
    else:
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
    report = scale.measure(options.devices, options.clusters)
    smaller = options.clusters // scale.SMALLER
    if smaller > 1:
        report["growth"] = scale.growth(report, options.devices * smaller // options.clusters, smaller)
    if not options.json:
        print(scale.table(report))
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
