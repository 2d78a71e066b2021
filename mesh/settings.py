"""The table of settings: one row each, with its type, its range, and the rules between them.

Formula and trade-off of each tunable stand in the profiles (configs/*.toml), where people change them.

Invariant: `Setting.check` returns a value of the setting's own type or raises ValueError saying what
would be legal; `contradictions` judges only values that passed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

COMMITTEE_WANTED = (3, 4, 7, 10, 13, 16)
LOG_LEVELS = ("debug", "info", "warning", "error")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class Text(str):
    """A value that came as text (environment, flag) and is converted to the setting's own type."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: which key, where it stands, what, and the fix."""

    key: str
    place: str
    what: str
    fix: str

    def sentence(self) -> str:
        """`network.listen (config.toml:4): what · fix`."""
        named = f"{self.key} ({self.place})" if self.key else self.place
        return f"{named}: {self.what} · {self.fix}"


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table. `low` and `high` bound numbers and the number of items; `choices` closes a set."""

    key: str
    kind: str
    default: object
    low: float = 0
    high: float = 0
    choices: tuple[object, ...] = ()
    attribute: str = ""

    def fix(self) -> str:
        """What to write instead."""
        if self.choices:
            return f"use one of {', '.join(str(choice) for choice in self.choices)}"
        if self.kind in ("int", "float"):
            noun = "a whole number" if self.kind == "int" else "a number"
            return f"use {noun} from {self.low:g} to {self.high:g}, for example {self.default}"
        examples = {
            "bool": "use true or false",
            "name": "use 1 to 32 letters, digits, dots, dashes",
            "addresses": 'use addresses such as ["/ip4/192.168.1.10/tcp/4710"]',
        }
        return examples[self.kind]

    def check(self, value: object) -> object:
        """Convert and judge one value. Raises ValueError."""
        if isinstance(value, Text):
            value = _from_text(self.kind, str(value))
        checked = _CHECKS[self.kind](value)
        if self.choices and checked not in self.choices:
            raise ValueError(f"{value!r} is not a choice")
        if self.kind in ("int", "float") and not self.choices and not self.low <= checked <= self.high:
            raise ValueError(f"{value!r} is out of range")
        if self.kind == "addresses" and not self.low <= len(checked) <= self.high:
            raise ValueError(
                f"{len(checked)} addresses are too {'few' if len(checked) < self.low else 'many'}"
            )
        return checked


def _row(
    key: str, kind: str, default: Any, low: float = 0, high: float = 0, choices: tuple[Any, ...] = ()
) -> Any:
    return field(default=default, metadata={"row": Setting(key, kind, default, low, high, choices)})


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a node, legal by themselves and beside each other."""

    name: str = _row("node.name", "name", "node")
    site: str = _row("node.site", "name", "default")
    gateway: bool = _row("node.gateway", "bool", True)

    listen: tuple[str, ...] = _row("network.listen", "addresses", ("/ip4/0.0.0.0/tcp/0",), 1, 8)
    announce: tuple[str, ...] = _row("network.announce", "addresses", (), 0, 8)
    mdns: bool = _row("network.mdns", "bool", False)
    heartbeat_s: float = _row("network.heartbeat_s", "float", 1.0, 0.1, 60)
    detect_s: float = _row("network.detect_s", "float", 2.8, 0.3, 300)
    max_links: int = _row("network.max_links", "int", 64, 2, 1024)
    max_guests: int = _row("network.max_guests", "int", 8, 0, 64)

    epoch_s: float = _row("mesh.epoch_s", "float", 600.0, 5, 86_400)
    settle_s: float = _row("mesh.settle_s", "float", 2.0, 0.1, 600)
    suspicion_s: float = _row("mesh.suspicion_s", "float", 10.0, 0.5, 3600)
    max_members: int = _row("mesh.max_members", "int", 4096, 3, 4096)

    cluster_min: int = _row("cluster.min", "int", 3, 2, 64)
    cluster_target: int = _row("cluster.target", "int", 4, 2, 64)
    cluster_max: int = _row("cluster.max", "int", 8, 2, 128)
    committee_size: int = _row("committee.size", "int", 7, choices=COMMITTEE_WANTED)

    collect_s: float = _row("session.collect_s", "float", 10.0, 0.5, 3600)
    total_s: float = _row("session.total_s", "float", 60.0, 1, 86_400)
    min_sites: int = _row("session.min_sites", "int", 3, 2, 4096)
    max_sessions: int = _row("session.max_live", "int", 16, 1, 256)
    max_jobs: int = _row("session.max_jobs", "int", 256, 1, 65_536)

    vault_hold_mb: float = _row("vault.hold_mb", "float", 64.0, 0, 1e6)
    vault_renew_s: float = _row("vault.renew_s", "float", 300.0, 1, 30 * 86_400)

    ticket_s: float = _row("join.ticket_s", "float", 86_400.0, 60, 30 * 86_400)
    confirm_joins: bool = _row("join.confirm", "bool", False)

    log_level: str = _row("log.level", "choice", "info", choices=LOG_LEVELS)


SETTINGS: Mapping[str, Setting] = {
    row.key: Setting(row.key, row.kind, row.default, row.low, row.high, row.choices, entry.name)
    for entry in fields(Config)
    for row in (entry.metadata["row"],)
}


def contradictions(config: Config, places: Mapping[str, str]) -> tuple[Problem, ...]:
    """Rules between settings that are legal by themselves."""
    rules = (
        (
            config.detect_s >= 2 * config.heartbeat_s,
            "network.detect_s",
            f"{config.detect_s:g} s leaves no room for one lost heartbeat of {config.heartbeat_s:g} s",
            "make it at least twice network.heartbeat_s",
        ),
        (
            config.cluster_min <= config.cluster_target <= config.cluster_max,
            "cluster.target",
            f"{config.cluster_target} is not between cluster.min {config.cluster_min} "
            f"and cluster.max {config.cluster_max}",
            "order them min <= target <= max",
        ),
        (
            config.cluster_max >= 2 * config.cluster_min - 1,
            "cluster.max",
            f"{config.cluster_max + 1} members cannot be split into two of {config.cluster_min}",
            "make it at least 2 * cluster.min - 1",
        ),
        (
            config.collect_s < config.total_s,
            "session.collect_s",
            f"collecting for {config.collect_s:g} s leaves nothing of {config.total_s:g} s to add and open",
            "make it less than session.total_s",
        ),
        (
            config.settle_s < config.epoch_s,
            "mesh.settle_s",
            f"{config.settle_s:g} s is longer than an epoch of {config.epoch_s:g} s",
            "make it less than mesh.epoch_s",
        ),
    )
    return tuple(Problem(key, places[key], what, fix) for holds, key, what, fix in rules if not holds)


def _from_text(kind: str, text: str) -> object:
    """Environment variables and flags are text; lists are separated by commas."""
    text = text.strip()
    if kind == "bool":
        words = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }
        if text.lower() not in words:
            raise ValueError(f"{text!r} is neither true nor false")
        return words[text.lower()]
    if kind == "addresses":
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return {"int": int, "float": float}.get(kind, str)(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _check_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _check_int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _check_float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _check_name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not a name")
    return value


def _check_choice(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _check_addresses(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError("is not a list of addresses")
    for item in value:
        _check_multiaddress(item)
    return tuple(value)


def _check_multiaddress(text: str) -> None:
    """`/ip4/A.B.C.D/tcp/PORT`, `/ip6/…/tcp/PORT` or `/dns4/NAME/tcp/PORT`. Raises ValueError."""
    parts = text.split("/")
    if (
        len(parts) != 5
        or parts[0]
        or parts[1] not in ("ip4", "ip6", "dns4", "dns6", "dns")
        or parts[3] != "tcp"
    ):
        raise ValueError(f"{text!r} is not an address")
    try:
        if parts[1] == "ip4":
            ipaddress.IPv4Address(parts[2])
        elif parts[1] == "ip6":
            ipaddress.IPv6Address(parts[2])
        elif not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", parts[2]):
            raise ValueError
    except ValueError:
        raise ValueError(f"{text!r}: {parts[2]!r} is not an {parts[1]} address") from None
    if not (parts[4].isascii() and parts[4].isdigit() and int(parts[4]) <= 65_535):
        raise ValueError(f"{text!r}: {parts[4]!r} is not a port (0 to 65535)")


_CHECKS: Mapping[str, Any] = {
    "bool": _check_bool,
    "int": _check_int,
    "float": _check_float,
    "name": _check_name,
    "choice": _check_choice,
    "addresses": _check_addresses,
}
