"""Command line of tools.netlab; see the package."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from protocols.errors import MeshError
from tools.netlab import namespaces, orders
from tools.netlab.orders import Orders
from tools.netlab.report import Report
from tools.netlab.schedule import Schedule
from tools.netlab.sites import ACTS, Sites
from tools.netlab.topology import load


def main() -> int:
    """0 if every lab went as it expects, 1 if not, 2 if it cannot run here or its file is wrong."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        if arguments.verb == "check":
            for path in arguments.labs:
                lab = load(path)
                print(f"{path}: {len(lab.sites)} sites, {len(lab.nodes)} nodes, {len(lab.jobs)} jobs")
            return 0
        if namespaces.missing() and getattr(arguments, "or_skip", False):
            print(f"skipped: {namespaces.missing()}", file=sys.stderr)
            return 0
        namespaces.require()
        if arguments.verb == "do":
            print(orders.send(arguments.act, arguments.names))
            return 0
        if arguments.verb == "clean":
            for name in namespaces.clean():
                print(f"removed {name}")
            return 0
        return max([_run(path, arguments) for path in arguments.labs])
    except MeshError as error:
        print(error.sentence(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; all namespaces of this lab are removed", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.netlab", description="Many sites on one machine")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="play labs, one after another")
    run.add_argument("--short", action="store_true", help="the short form: fewer repetitions")
    run.add_argument("--json", action="store_true", help="one JSON object a lab on stdout")
    run.add_argument("--keep", action="store_true", help="keep the state folders and logs")
    run.add_argument("--or-skip", action="store_true", help="where no lab can run, say so and return 0")
    run.add_argument("--hold", action="store_true", help="keep the mesh for `do` until Ctrl-C")
    check = verbs.add_parser("check", help="read labs and say what is in them")
    for verb in (run, check):
        verb.add_argument("labs", nargs="+", type=Path, metavar="LAB.toml")
    do = verbs.add_parser(
        "do", help="act on a lab that runs: cut A B, heal A B, kill N, pause, resume, restart"
    )
    do.add_argument("act", choices=ACTS)
    do.add_argument("names", nargs="+", metavar="NAME", help="sites to cut and heal, else nodes")
    verbs.add_parser("clean", help="remove what labs that died left behind")
    return parser


def _run(path: Path, arguments: argparse.Namespace) -> int:
    lab = load(path, short=arguments.short)
    namespaces.clean()
    folder = Path(tempfile.mkdtemp(prefix=orders.FOLDER))
    report = Report(lab.name, lab.title, len(lab.nodes))
    code = 1
    try:
        with Orders(folder) as listening, Sites(lab, folder) as sites:
            Schedule(sites, report, listening).run(hold=arguments.hold)
        code = report.finish(arguments.json)
    finally:
        if code == 0 and not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"state folders and logs: {folder}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
