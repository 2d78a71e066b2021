"""A lab in writing: sites, links, faults and jobs, read from TOML into frozen records.

The file stands for itself: prose on top, then what there is and what happens. Times count in seconds from
the moment when the mesh has formed. Errors name the file, the key and the fix.

Invariant: every name in a fault or a job is a site or a node of the lab; unknown keys are refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.settings import SETTINGS
from protocols.errors import ConfigError
from tools.netlab.links import LinkSpec

FAULTS = ("cut", "kill", "pause")
EXPECTED = ("right", "right-or-abort", "abort")
LAUNCHES = ("fork", "commands")
BOUNDS = {
    "latency_ms": (0, 5000),
    "jitter_ms": (0, 5000),
    "loss": (0, 0.9),
    "mbit": (0.01, 1000),
    "queue_ms": (1, 10_000),
}
MAX_SITES = 250
MAX_NODES = 64
FIRST_PORT = 4710
REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Node:
    """One daemon. Nodes of a site share its address and have a port each."""

    name: str
    site: str
    address: str
    gateway: bool
    holds_rows: bool


@dataclass(frozen=True, slots=True)
class Site:
    """A place with a network namespace of its own."""

    name: str
    host: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """`do`: cut links, kill or pause nodes. Undone after `for_s`, never if that is None."""

    at: float
    do: str
    what: tuple[str, ...]
    for_s: float | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A job: who asks what and when; what may come of it; whose rows must, or must not, be in."""

    at: float
    by: str
    ask: tuple[tuple[str, str], ...]
    min_sites: int
    timeout_s: float
    expect: str
    counts: tuple[str, ...]
    without: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lab:
    """Everything in the file. `formed_s` bounds how long the whole mesh may take to form, also at the end."""

    name: str
    title: str
    profile: str
    launch: str
    seed: int
    formed_s: float
    settings: dict[str, object]
    columns: tuple[str, ...]
    sites: tuple[Site, ...]
    links: dict[tuple[str, str], LinkSpec]
    faults: tuple[Fault, ...]
    jobs: tuple[Asked, ...]
    nodes: tuple[Node, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Collect the nodes of all sites, founder first."""
        object.__setattr__(self, "nodes", tuple(node for site in self.sites for node in site.nodes))


class _Table:
    """A table of the file: typed access, and in the end nothing may be left over."""

    def __init__(self, path: Path, where: str, content: object) -> None:
        if not isinstance(content, dict):
            raise _fault(path, where, "is not a table", "write it as [table] with key = value lines")
        self.path, self.where, self._left = path, where, dict(content)
        self._known: list[str] = []

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = REQUIRED) -> Any:
        """The value of `key`, which must be of `kind`."""
        self._known.append(key)
        value = self._left.pop(key, default)
        if value is REQUIRED:
            raise _fault(self.path, f"{self.where}.{key}", "is missing", f"add {key} = …")
        if value is not default and (
            not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
        ):
            names = kind.__name__ if isinstance(kind, type) else " or ".join(one.__name__ for one in kind)
            raise _fault(self.path, f"{self.where}.{key}", f"is {value!r}", f"write a value of type {names}")
        return value

    def number(self, key: str, default: Any, low: float, high: float) -> Any:
        """A number within bounds, or the default."""
        value = self.take(key, (int, float), default)
        if value is not default and not low <= value <= high:
            raise _fault(
                self.path, f"{self.where}.{key}", f"is {value}", f"use a number from {low:g} to {high:g}"
            )
        return value

    def choice(self, key: str, choices: Sequence[str], default: Any = REQUIRED) -> str:
        """One of a closed set."""
        value: str = self.take(key, str, default)
        if value not in choices:
            raise _fault(
                self.path, f"{self.where}.{key}", f"is {value!r}", f"use one of {', '.join(choices)}"
            )
        return value

    def names(self, key: str, among: Sequence[str], default: Any = REQUIRED) -> tuple[str, ...]:
        """A list of names of the lab."""
        value = self.take(key, list, default)
        for name in value:
            if name not in among:
                raise _fault(
                    self.path,
                    f"{self.where}.{key}",
                    f"names {name!r}, which the lab does not have",
                    f"use some of {', '.join(among)}",
                )
        return tuple(value)

    def finish(self) -> None:
        """Complain about keys that nobody asked for."""
        for key in self._left:
            raise _fault(
                self.path, f"{self.where}.{key}", "is unknown", f"known are {', '.join(self._known)}"
            )


def load(path: Path, *, short: bool = False) -> Lab:
    """Read a lab. `short` leaves out what is marked `short = false`. Raises ConfigError."""
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", code="C-101", fix="name a file of configs/labs"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}", code="C-101", fix="correct that line") from None
    top = _Table(path, "lab", content)
    title = top.take("title", str)
    profile, launch = top.take("profile", str, "wan"), top.choice("launch", LAUNCHES, "fork")
    seed, formed_s = top.take("seed", int, 1), top.number("formed_s", 60.0, 1, 600)
    settings = _settings(path, top.take("settings", dict, {}))
    columns = tuple(top.take("columns", list, ["mean_radius", "mean_texture"]))
    usual = _link(_Table(path, "link", top.take("link", dict, {})), LinkSpec())
    sites = _sites(path, top.take("site", list))
    links = _links(path, top.take("pair", list, []), [site.name for site in sites], usual)
    faults = [
        fault
        for number, entry in enumerate(top.take("fault", list, []), start=1)
        for fault in _faults(_Table(path, f"fault {number}", entry), sites, short)
    ]
    jobs = [
        job
        for number, entry in enumerate(top.take("job", list), start=1)
        for job in _jobs(_Table(path, f"job {number}", entry), sites, short)
    ]
    top.finish()
    return Lab(
        path.stem, title, profile, launch, seed, formed_s, settings, columns, sites, links,
        tuple(sorted(faults, key=lambda fault: fault.at)), tuple(sorted(jobs, key=lambda job: job.at)),
    )  # fmt: skip


def _settings(path: Path, given: dict[str, Any]) -> dict[str, object]:
    """`[settings.mesh] settle_s = 1` as {"mesh.settle_s": 1}."""
    found = {
        f"{section}.{key}": value
        for section, entries in given.items()
        for key, value in _entries(path, section, entries)
    }
    for key in found:
        if key not in SETTINGS:
            raise _fault(path, f"settings.{key}", "is no setting", "see: coppice config show")
    return found


def _entries(path: Path, section: str, entries: object) -> list[tuple[str, object]]:
    if not isinstance(entries, dict):
        raise _fault(path, f"settings.{section}", "is not a table", f"write [settings.{section}]")
    return list(entries.items())


def _sites(path: Path, given: list[Any]) -> tuple[Site, ...]:
    sites: list[Site] = []
    for entry in given:
        table = _Table(path, f"site {len(sites) + 1}", entry)
        name, copies = table.take("name", str), int(table.number("copies", 1, 1, MAX_SITES))
        count = int(table.number("nodes", 1, 1, MAX_NODES))
        holders = int(table.number("holders", count, 0, count))
        gateway = table.take("gateway", bool, True)
        table.finish()
        for copy in range(1, copies + 1):
            label = name if copies == 1 else f"{name}-{copy}"
            host = f"198.18.{len(sites) + 1}.1"  # RFC 2544: for laboratories
            nodes = tuple(
                Node(
                    label if count == 1 else f"{label}-{index + 1}",
                    label,
                    f"/ip4/{host}/tcp/{FIRST_PORT + index}",
                    gateway,
                    index < holders,
                )
                for index in range(count)
            )
            sites.append(Site(label, host, nodes))
    names = [node.name for site in sites for node in site.nodes]
    if len(set(names)) < len(names) or not 2 <= len(sites) <= MAX_SITES:
        raise _fault(path, "site", f"makes the nodes {names}", f"use 2 to {MAX_SITES} sites, each name once")
    return tuple(sites)


def _link(table: _Table, usual: LinkSpec) -> LinkSpec:
    values = {name: table.number(name, getattr(usual, name), *bounds) for name, bounds in BOUNDS.items()}
    table.finish()
    return LinkSpec(**values)


def _links(
    path: Path, given: list[Any], names: list[str], usual: LinkSpec
) -> dict[tuple[str, str], LinkSpec]:
    """Both directions of every pair."""
    links = {(a, b): usual for a in names for b in names if a != b}
    for number, entry in enumerate(given, start=1):
        table = _Table(path, f"pair {number}", entry)
        ends = table.names("sites", names)
        if len(ends) != 2 or ends[0] == ends[1]:
            raise _fault(path, f"pair {number}.sites", f"is {list(ends)}", "name two different sites")
        links[ends[0], ends[1]] = links[ends[1], ends[0]] = _link(table, usual)
    return links


def _times(table: _Table, short: bool) -> list[float]:
    """When an entry happens: at, and every_s after that, `times` in all; `short_times` in the short form."""
    at = float(table.number("at", REQUIRED, 0, 3600))
    every_s = float(table.number("every_s", 0.0, 0.1, 3600))
    times = int(table.number("times", 1, 1, 10_000))
    in_short = int(table.number("short_times", times, 0, 10_000))
    return [at + every_s * number for number in range(in_short if short else times)]


def _faults(table: _Table, sites: Sequence[Site], short: bool) -> list[Fault]:
    do = table.choice("do", FAULTS)
    names = [site.name for site in sites] if do == "cut" else [n.name for site in sites for n in site.nodes]
    what = table.names("what", names)
    if not what or (do == "cut" and len(what) > 2):
        raise _fault(
            table.path, f"{table.where}.what", f"is {list(what)}", "name one site, or the two of a link"
        )
    for_s = table.number("for_s", None, 0.05, 3600)
    times = _times(table, short)
    table.finish()
    return [Fault(at, do, what, for_s) for at in times]


def _jobs(table: _Table, sites: Sequence[Site], short: bool) -> list[Asked]:
    nodes = [node for site in sites for node in site.nodes]
    by = table.names("from", [node.name for node in nodes])
    ask = []
    for text in table.take("ask", list):
        statistic, _, column = str(text).partition(" ")
        ask.append((statistic, column))
    if not by or not ask or not all(column for _, column in ask):
        raise _fault(table.path, f"{table.where}.ask", "is incomplete", 'write ask = ["mean mean_radius"]')
    min_sites = int(table.number("min_sites", 2, 2, MAX_NODES))
    timeout_s = float(table.number("timeout_s", 20.0, 1, 600))
    expect = table.choice("expect", EXPECTED, "right-or-abort")
    holders = [node.name for node in nodes if node.holds_rows]
    counts, without = table.names("counts", holders, []), table.names("without", holders, [])
    times = _times(table, short)
    table.finish()
    return [
        Asked(at, name, tuple(ask), min_sites, timeout_s, expect, counts, without)
        for at in times
        for name in by
    ]


def _fault(path: Path, key: str, what: str, fix: str) -> ConfigError:
    return ConfigError(f"{path.name}: {key} {what}", code="C-101", fix=fix)
