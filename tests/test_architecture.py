"""The architecture as rules over the source: import directions, purity, size, names.

Read from the syntax tree, so that lazy imports inside functions count as well.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_ENTRY_LINES = 60
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}

# A room may import itself and what stands here; "protocols.x" covers everything below it.
_NAMES = {"protocols.identifiers", "protocols.errors"}
_CODED = _NAMES | {"protocols.arithmetic", "protocols.sharing", "protocols.wire", "protocols.machine"}
_SETTINGS = {"mesh.config", "mesh.settings", "mesh.version"}
# Composition roots put a node together, so they see every room below the command line.
_EVERYTHING_BELOW = _SETTINGS | {
    "protocols",
    "mesh.overlay",
    "mesh.net",
    "mesh.data",
    "mesh.runtime",
    "mesh.api",
}
_MAY_IMPORT: dict[str, set[str]] = {
    "protocols.identifiers": set(),
    "protocols.errors": {"protocols.identifiers"},
    "protocols.machine": {"protocols.identifiers"},
    "protocols.wire": _NAMES | {"protocols.arithmetic"},
    "protocols.arithmetic": _NAMES,
    "protocols.sharing": _NAMES | {"protocols.arithmetic"},
    "protocols.learning": _NAMES | {"protocols.arithmetic", "protocols.wire"},
    "protocols.privacy": _NAMES | {"protocols.arithmetic", "protocols.learning"},
    "protocols.statistics": _NAMES
    | {"protocols.arithmetic", "protocols.sessions.plan", "protocols.learning", "protocols.privacy"}
    | {"protocols.masking.quantise"},
    "protocols.circuits": _CODED | {"protocols.engine"},
    "protocols.masking": _CODED - {"protocols.machine"},
    "protocols.randomness": _CODED,
    "protocols.engine": _CODED,
    "protocols": {"protocols"},
    "mesh.overlay": {"protocols"},
    "mesh.net": {"protocols"},
    "mesh.data": {"protocols"},
    "mesh.models": {"protocols"},
    "mesh.version": set(),
    "mesh.settings": set(),
    "mesh.config": {"mesh.settings", "protocols.errors"},
    "mesh.api.shapes": set(),
    "mesh.api.service": {"mesh.api.shapes"},
    "mesh.api": {"mesh.runtime.home", "mesh.data", "protocols"},
    # The last two are the contract that the runtime implements; they import nothing but shapes.
    "mesh.runtime": _SETTINGS
    | {"protocols", "mesh.overlay", "mesh.data", "mesh.models", "mesh.net.transport", "mesh.net.profile"}
    | {"mesh.api.service", "mesh.api.shapes", "mesh.api.jsonshape"},
    "mesh.runtime.daemon": _EVERYTHING_BELOW,
    "mesh.runtime.demo": _EVERYTHING_BELOW,
    "mesh.cli": _SETTINGS
    | {
        "mesh.api",
        "mesh.runtime",
        "mesh.data",
        "mesh.models",
        "mesh.overlay.ticket",
        "mesh",
        "protocols.errors",
    },
    "mesh": {"mesh.api", "mesh.runtime.home", "mesh.facade", "protocols.errors"},
    "node": {"mesh.cli"},
    "tools.sim": {"protocols", "mesh.overlay"},
    "tools": {"protocols", "mesh", "tools"},
}

_PURE = ("protocols", "mesh.overlay")
_IMPURE_MODULES = {
    "asyncio", "datetime", "multiprocessing", "os", "random", "secrets", "select", "selectors", "socket",
    "sqlite3", "subprocess", "tempfile", "threading", "time", "trio", "libp2p",
}  # fmt: skip
_IMPURE_CALLS = {"numpy.random", "np.random", "nacl.utils.random", "utils.random", "os.urandom"}
_HARMLESS = {"threading.local"}  # a buffer per thread has no effect that anybody could see
HEAVY = {"libp2p", "numpy", "trio", "pydantic", "starlette", "hypercorn", "structlog", "nacl", "asyncio"}
_LIBRARIES_OF_PURE_ROOMS = {"numpy", "nacl", "cbor2"}


@dataclass(frozen=True)
class Module:
    """A source file of ours."""

    name: str
    path: Path
    text: str

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def package(self) -> str:
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @functools.cached_property
    def imports(self) -> tuple[tuple[int, str], ...]:
        """Every imported name, `from a import b` as `a.b`; imports for type checkers only do not count."""
        found: list[tuple[int, str]] = []
        waiting: list[ast.AST] = [self.tree]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    package = self.package.split(".")[: len(self.package.split(".")) - node.level + 1]
                    base = ".".join([*package, base]).strip(".")
                found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
            elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                waiting += node.orelse
            elif not isinstance(node, ast.expr):
                waiting += ast.iter_child_nodes(node)
        return tuple(sorted(found))


def _modules() -> list[Module]:
    paths = [ROOT / "node.py"]
    for room in ("mesh", "protocols", "tools"):
        paths += sorted((ROOT / room).rglob("*.py"))
    found = []
    for path in paths:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found.append(Module(name, path, path.read_text()))
    return found


MODULES = _modules()
_OURS = {module.name for module in MODULES}


def _inside(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def _room_of(name: str) -> str:
    return max((room for room in _MAY_IMPORT if _inside(name, room)), key=len)


def _target(imported: str) -> str | None:
    """The module of ours that an import names, or None for a foreign one."""
    if imported in _OURS:
        return imported
    parent = imported.rpartition(".")[0]
    return parent if parent in _OURS else None


def _violations(module: Module) -> list[str]:
    room = _room_of(module.name)
    allowed = _MAY_IMPORT[room] | {room}
    found = []
    for line, imported in module.imports:
        target = _target(imported)
        if target is None or _is_package_of(target, module.name):
            continue
        if not any(_inside(target, one) for one in allowed):
            found.append(f"{module.path.relative_to(ROOT)}:{line}: {room} may not import {imported}")
    return found


def _is_package_of(target: str, name: str) -> bool:
    """`from protocols import errors` names the package; the submodule is judged by itself."""
    return target in {"protocols", "mesh", "mesh.api"} and name != target


def test_there_is_something_to_judge() -> None:
    assert {"node", "mesh.cli.main", "protocols.machine", "mesh.net.transport"} <= _OURS


def test_imports_point_one_way() -> None:
    found = [violation for module in MODULES for violation in _violations(module)]
    assert not found, "\n".join(found)


def test_the_rule_itself_sees_a_wrong_import() -> None:
    bad = Module(
        "protocols.arithmetic.bad", ROOT / "protocols/arithmetic/bad.py", "def f():\n    import mesh.config\n"
    )
    assert _violations(bad)
    worse = Module("mesh.runtime.bad", ROOT / "mesh/runtime/bad.py", "from mesh.cli import main\n")
    assert _violations(worse)


def test_only_the_network_room_imports_libp2p() -> None:
    found = [
        f"{module.path.relative_to(ROOT)}:{line}"
        for module in MODULES
        for line, imported in module.imports
        if imported.split(".")[0] == "libp2p" and not _inside(module.name, "mesh.net")
    ]
    # tools may measure the library itself
    assert not [place for place in found if not place.startswith("tools/")], found


def test_the_interface_of_the_network_does_not_know_libp2p() -> None:
    interface = next(module for module in MODULES if module.name == "mesh.net.transport")
    assert "import libp2p" not in interface.text
    assert "from libp2p" not in interface.text


def _impurities(module: Module) -> list[str]:
    found = []
    for line, imported in module.imports:
        first = imported.split(".")[0]
        foreign = _target(imported) is None and first not in sys.stdlib_module_names
        if imported in _HARMLESS:
            continue
        if first in _IMPURE_MODULES or (foreign and first not in _LIBRARIES_OF_PURE_ROOMS):
            found.append(f"{module.path.relative_to(ROOT)}:{line}: imports {imported}")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in _IMPURE_CALLS:
            found.append(f"{module.path.relative_to(ROOT)}:{node.lineno}: uses {ast.unparse(node)}")
        if isinstance(node, ast.Name) and node.id == "open":
            found.append(f"{module.path.relative_to(ROOT)}:{node.lineno}: opens a file")
    return found


def test_the_pure_rooms_have_no_clock_no_dice_and_no_network() -> None:
    found = [
        impurity
        for module in MODULES
        if any(_inside(module.name, room) for room in _PURE)
        for impurity in _impurities(module)
    ]
    assert not found, "\n".join(found)


def test_purity_is_seen_when_broken() -> None:
    bad = Module(
        "protocols.bad", ROOT / "protocols/bad.py", "import time\nimport numpy as np\nnp.random.rand()\n"
    )
    assert len(_impurities(bad)) == 2


def test_files_are_short() -> None:
    # Files of data and prose tables are no exception so far.
    long = {
        str(module.path.relative_to(ROOT)): count
        for module in MODULES
        if (count := len(module.text.splitlines())) > MAX_FILE_LINES
    }
    assert not long


def test_functions_are_short() -> None:
    long = [
        f"{module.path.relative_to(ROOT)}:{node.lineno}: {node.name} has {length} lines"
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


def test_the_entry_point_is_tiny() -> None:
    assert len((ROOT / "node.py").read_text().splitlines()) < MAX_ENTRY_LINES


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(module.path.relative_to(ROOT))
        for module in MODULES
        if module.path.name != "__init__.py" and not ast.get_docstring(module.tree)
    ]
    assert not silent


def test_no_module_is_a_drawer() -> None:
    drawers = [module.name for module in MODULES if FORBIDDEN_NAMES & set(module.name.split("."))]
    assert not drawers


def test_test_modules_have_names_of_their_own() -> None:
    names = [
        path.name
        for path in (ROOT / "tests").rglob("*.py")
        if path.name not in ("conftest.py", "__init__.py")
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice


@pytest.mark.parametrize(
    "verb", sorted({"main", *(path.stem for path in (ROOT / "mesh" / "cli").glob("*.py"))} - {"__init__"})
)
def test_the_command_line_loads_nothing_heavy(verb: str) -> None:
    """Importing a verb's module, as running it does, loads neither libp2p nor numpy nor the server."""
    script = (
        f"import sys, node, mesh.cli.main, mesh.cli.{verb}, mesh.api.client\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.strip() == "[]"
