"""Entry point: `python node.py …` and the installed `coppice …` are the same program."""

from __future__ import annotations

import sys


def main() -> int:
    """Run one command; the exit code. Interrupted while it still loads: 130, in silence."""
    try:
        from mesh.cli.interrupts import kept

        with kept():
            from mesh.cli.main import run
        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
