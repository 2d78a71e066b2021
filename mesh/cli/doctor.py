"""`doctor`: is this machine fit to run a node, and what to do if not. Works without the node.

Checks look and do not load: importing libp2p would take a second, so its parts are only located.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from mesh.api.outcome import Exit, NodeUnreachable
from mesh.cli.options import COMMON, Common
from protocols.errors import MeshError

BUILT_AFTER = 1_767_225_600.0
"""1 January 2026: a clock that shows less was never set."""

MIN_FREE_BYTES = 50 * 1024 * 1024
INSTALL_LINE = "apt-get install -y gcc libgmp-dev python3-dev (or: dnf install gcc gmp-devel python3-devel)"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `needed`: the node does not run without it."""

    check: str
    ok: bool
    detail: str
    fix: str = ""
    needed: bool = True


def doctor(*, common: Common = COMMON) -> int:
    """Check this machine and this node: interpreter, libraries, compiler, permissions, clock, disk."""
    findings = [check(common) for check in _CHECKS]
    sick = [finding for finding in findings if not finding.ok and finding.needed]
    answer = {
        "ok": not sick,
        "checks": [
            {"check": f.check, "ok": f.ok, "needed": f.needed, "detail": f.detail, "fix": f.fix}
            for f in findings
        ],
    }
    lines = []
    for finding in findings:
        mark = "✓" if finding.ok else ("✗" if finding.needed else "!")
        lines.append(
            f"{mark} {finding.check}: {finding.detail}" + (f" · {finding.fix}" if not finding.ok else "")
        )
    common.output.show(answer, "\n".join(lines))
    return int(Exit.USAGE if sick else Exit.OK)


def _python(_: Common) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), version, "install Python 3.11 or later")


def _libraries(_: Common) -> Finding:
    wanted = ("libp2p", "trio", "numpy", "nacl", "cbor2", "starlette", "hypercorn", "structlog")
    missing = [name for name in wanted if util.find_spec(name) is None]
    detail = f"missing: {', '.join(missing)}" if missing else "all found"
    return Finding("libraries", not missing, detail, "run: bash tools/bootstrap.sh setup")


def _curves(_: Common) -> Finding:
    """fastecdsa, which libp2p needs, is compiled at installation."""
    package = util.find_spec("fastecdsa")
    folders = list(package.submodule_search_locations or ()) if package is not None else []
    built = [path for folder in folders for path in Path(folder).glob("curvemath*.so")]
    detail = "its compiled part is there" if built else "libp2p's dependency fastecdsa is not built"
    return Finding("fastecdsa", bool(built), detail, f"install, then set up again: {INSTALL_LINE}")


def _compiler(_: Common) -> Finding:
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    detail = found or "none found; only installing needs one"
    return Finding("compiler", found is not None, detail, INSTALL_LINE, needed=False)


def _headers(_: Common) -> Finding:
    folders = (Path("/usr/include"), Path("/usr/local/include"))
    found = next(
        (p for folder in folders for p in (folder / "gmp.h", *folder.glob("*/gmp.h")) if p.exists()), None
    )
    detail = str(found or "gmp.h not found; only installing needs it")
    return Finding("libgmp headers", found is not None, detail, INSTALL_LINE, needed=False)


def _home(common: Common) -> Finding:
    home = common.folder
    if not home.root.exists():
        fix = f"run: coppice init --home {home.root}"
        return Finding("state folder", False, f"{home.root}: not there yet", fix, needed=False)
    try:
        home.require()
    except MeshError as error:
        return Finding("state folder", False, str(error.args[0]), error.fix)
    return Finding("state folder", True, str(home.root))


def _keys(common: Common) -> Finding:
    path = common.folder.keys
    try:
        status = path.lstat()
    except OSError:
        return Finding("keys", True, "none yet", needed=False)
    safe = not status.st_mode & 0o077 and status.st_uid == os.geteuid()
    return Finding("keys", safe, f"mode {stat.S_IMODE(status.st_mode):04o}", f"run: chmod 600 {path}")


def _settings(common: Common) -> Finding:
    from mesh.config import ConfigProblems, resolve

    try:
        resolved = resolve(common.folder.config)
    except ConfigProblems as error:
        problems = "; ".join(problem.sentence() for problem in error.problems)
        return Finding("settings", False, problems, "see: coppice config check")
    return Finding("settings", True, f"profile {resolved.profile}")


def _clock(_: Common) -> Finding:
    now = time.time()
    detail = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    fix = "set it (certificates and tickets expire by it): timedatectl set-ntp true"
    return Finding("clock", now > BUILT_AFTER, detail, fix)


def _disk(common: Common) -> Finding:
    folder = common.folder.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB free"
    return Finding("disk", free > MIN_FREE_BYTES, detail, "free some space: the journal must be writable")


def _node(common: Common) -> Finding:
    try:
        status = common.client.status()
    except NodeUnreachable as error:
        return Finding("node", False, str(error.args[0]), error.fix, needed=False)
    return Finding("node", True, f"{status.name}: {status.health}")


_CHECKS: tuple[Callable[[Common], Finding], ...] = (
    _python,
    _libraries,
    _curves,
    _compiler,
    _headers,
    _home,
    _keys,
    _settings,
    _clock,
    _disk,
    _node,
)
