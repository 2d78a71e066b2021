"""Typed settings of a node: which exist, what they may be, and where each value came from.

Precedence: flags > COPPICE_<SECTION>_<KEY> environment > config.toml > its profile > defaults.
A profile (configs/*.toml) is a short delta on the defaults whose prose says what each tunable costs.

Invariant: either a `Config` in which every value is legal by itself and beside the others, or one
`ConfigProblems` that lists every error found, each with key, place and fix. Nothing is guessed.
Imports stay cheap (no numpy, no libp2p): the command line reads settings too.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mesh.settings import SETTINGS, Config, Problem, Setting, Text, contradictions
from protocols.errors import ConfigError

PROFILES = ("localhost", "lan", "wan", "field")
DEFAULT_PROFILE = "lan"
ENVIRONMENT_PREFIX = "COPPICE_"
MAX_CONFIG_BYTES = 256 * 1024


class ConfigProblems(ConfigError):
    """All that is wrong with the settings, at once."""

    code = "C-100"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        lines = "".join(f"\n  {problem.sentence()}" for problem in problems)
        super().__init__(f"{count} wrong{lines}", fix="")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Resolved:
    """A legal configuration; `origins` tells for each key where its value came from."""

    config: Config
    profile: str
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Layer:
    """Values of one source, by dotted key, with the place of each."""

    values: Mapping[str, object]
    places: Mapping[str, str]


def resolve(
    path: Path | None,
    *,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    profile: str | None = None,
) -> Resolved:
    """Merge all sources of settings. `path` may not exist; `flags` maps dotted keys to values.

    Raises ConfigProblems naming every error.
    """
    problems: list[Problem] = []
    surroundings = os.environ if environment is None else environment
    file = _read(path, problems) if path is not None else _Layer({}, {})
    chosen = profile or surroundings.get("COPPICE_PROFILE") or file.values.get("profile") or DEFAULT_PROFILE
    if chosen not in PROFILES:
        place = file.places.get("profile", "the flag or COPPICE_PROFILE")
        problems.append(
            Problem("profile", place, f"there is no profile {chosen!r}", f"use one of {', '.join(PROFILES)}")
        )
        chosen = DEFAULT_PROFILE
    layers = (
        _read(profile_path(str(chosen)), problems),
        file,
        _from_environment(surroundings, problems),
        _from_flags(flags or {}, problems),
    )
    values: dict[str, object] = {key: setting.default for key, setting in SETTINGS.items()}
    origins = dict.fromkeys(SETTINGS, "default")
    for layer in layers:
        for key, value in layer.values.items():
            if key not in SETTINGS:
                continue
            accepted = _accept(SETTINGS[key], value, layer.places[key], problems)
            if accepted is not None:
                values[key], origins[key] = accepted, layer.places[key]
    config = Config(**{SETTINGS[key].attribute: cast(Any, value) for key, value in values.items()})
    problems.extend(contradictions(config, origins))
    if problems:
        raise ConfigProblems(tuple(problems))
    return Resolved(config, str(chosen), origins)


def profile_path(name: str) -> Path:
    """Where a profile's file lies: beside the packages in a checkout, inside `mesh` once installed."""
    here = Path(__file__).resolve().parent
    beside = here.parent / "configs" / f"{name}.toml"
    return beside if beside.exists() else here / "configs" / f"{name}.toml"


def _accept(setting: Setting, value: object, place: str, problems: list[Problem]) -> object | None:
    try:
        return setting.check(value)
    except ValueError as error:
        problems.append(Problem(setting.key, place, str(error), setting.fix()))
        return None


def _read(path: Path, problems: list[Problem]) -> _Layer:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise ValueError(f"larger than {MAX_CONFIG_BYTES} bytes")
        text = content.decode()
        document = tomllib.loads(text)
    except FileNotFoundError:
        return _Layer({}, {})
    except OSError as error:
        problems.append(Problem("", str(path), f"cannot be read: {error.strerror}", "make it readable"))
        return _Layer({}, {})
    except ValueError as error:
        problems.append(Problem("", str(path), f"is not TOML: {error}", "repair this line; nothing was read"))
        return _Layer({}, {})
    lines = _line_numbers(text)
    values: dict[str, object] = {}
    for section, content_ in document.items():
        if isinstance(content_, dict):
            values |= {f"{section}.{key}": value for key, value in content_.items()}
        else:
            values[section] = content_
    places = {key: f"{path.name}:{lines.get(key, 1)}" for key in values}
    for key in values:
        if key not in SETTINGS and key != "profile":
            problems.append(Problem(key, places[key], "no such setting", _did_you_mean(key)))
    return _Layer(values, places)


def _line_numbers(text: str) -> dict[str, int]:
    """Line of each key. Good for the plain `[section]` and `key = value` that our settings need."""
    section = ""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            section = header[1] + "."
        elif pair := re.match(r"""\s*["']?([\w.-]+)["']?\s*=""", line):
            lines.setdefault(section + pair[1], number)
    return lines


def _from_environment(environment: Mapping[str, str], problems: list[Problem]) -> _Layer:
    variables = {_variable(key): key for key in SETTINGS}
    sections = {variable.split("_")[1] for variable in variables}
    values: dict[str, object] = {}
    places: dict[str, str] = {}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        key = variables.get(variable)
        if key is not None:
            values[key] = Text(text)
            places[key] = f"${variable}"
        elif variable.split("_")[1] in sections and variable.count("_") > 1:
            problems.append(Problem(variable, "the environment", "no such setting", _did_you_mean(variable)))
    return _Layer(values, places)


def _from_flags(flags: Mapping[str, object], problems: list[Problem]) -> _Layer:
    places = {key: f"--set {key}" for key in flags}
    for key in flags:
        if key not in SETTINGS:
            problems.append(Problem(key, "a flag", "no such setting", _did_you_mean(key)))
    return _Layer({key: Text(v) if isinstance(v, str) else v for key, v in flags.items()}, places)


def _variable(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.replace(".", "_").upper()


def _did_you_mean(key: str) -> str:
    import difflib

    names = (
        [_variable(known) for known in SETTINGS]
        if key.startswith(ENVIRONMENT_PREFIX)
        else [*SETTINGS, "profile"]
    )
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else "see: coppice config show"
