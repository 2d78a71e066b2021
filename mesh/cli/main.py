"""Run a verb and turn whatever happens into an exit code and a sentence, never a traceback.

Exit codes: mesh/api/outcome.py. Interrupted by Ctrl-C: 130. The broad `except` here is the command's
own boundary: the traceback goes to a file, the person hears one line.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from cyclopts import CycloptsError

import mesh.version  # noqa: F401 - its clock starts with the process
from mesh.api.outcome import Exit, outcome
from mesh.cli.app import build
from mesh.cli.interrupts import kept
from mesh.cli.output import Output
from mesh.runtime.home import Home
from protocols.errors import ConfigError, MeshError

INTERRUPTED = 130


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line. Returns the exit code."""
    output = Output("--json" in arguments)
    try:
        with kept():  # it loads the verb's modules
            verb, bound, _ = build().parse_args(list(arguments), exit_on_error=False, print_error=False)
        code = verb(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except CycloptsError as error:
        output.fail(_usage(error))
        return int(Exit.USAGE)
    except MeshError as error:
        output.fail(error)
        return int(outcome(error).exit)
    except KeyboardInterrupt:
        output.say("stopped")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)
    except Exception:
        output.bug(_keep_traceback(arguments))
        return int(Exit.BUG)
    return code if isinstance(code, int) and not isinstance(code, bool) else int(Exit.OK)


def _usage(error: CycloptsError) -> ConfigError:
    what = " ".join(str(error).split())
    chain = " ".join(error.command_chain or ())
    return ConfigError(what, code="C-101", fix=f"see: {' '.join(('coppice', chain)).strip()} --help")


def _keep_traceback(arguments: Sequence[str]) -> str:
    """Append the traceback (code lines only, no values) to a log; where it is."""
    text = traceback.format_exc()
    for folder in (_home_logs(arguments), Path("/tmp")):  # noqa: S108  # last resort, a fresh private file
        try:
            path = folder / f"coppice-bug-{os.getpid()}.log"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
        except OSError:
            continue
        return str(path)
    return "nowhere: no folder could be written"


def _home_logs(arguments: Sequence[str]) -> Path:
    words = list(arguments)
    flag = next((words[i + 1] for i, word in enumerate(words[:-1]) if word == "--home"), None)
    return Home.locate(Path(flag) if flag else None).root / "logs"
