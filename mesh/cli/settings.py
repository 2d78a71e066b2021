"""`config check`, `config show`: which settings apply and where each came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mesh.cli.options import COMMON, Common
from mesh.cli.output import table


def check(
    file: Annotated[Path | None, Parameter(help="A file to check instead of this node's.")] = None,
    *,
    common: Common = COMMON,
) -> None:
    """Check all settings; every error is listed with its key, line and fix."""
    from mesh.config import resolve
    from protocols.errors import ConfigError

    path = file or common.folder.config
    if file is not None and not file.exists():
        raise ConfigError(f"there is no file {file}", code="C-146", fix="name an existing TOML file")
    resolved = resolve(path)
    common.output.show(
        {"ok": True, "file": str(path), "profile": resolved.profile},
        f"✓ {path} is good · profile {resolved.profile}",
    )


def show(
    *,
    origin: Annotated[bool, Parameter(help="Say where each value came from.", negative="")] = False,
    profile: Annotated[str | None, Parameter(help="Show another profile's values.")] = None,
    common: Common = COMMON,
) -> None:
    """Show the settings in force."""
    from mesh.config import resolve
    from mesh.settings import SETTINGS

    resolved = resolve(common.folder.config, profile=profile)
    values = {key: getattr(resolved.config, setting.attribute) for key, setting in SETTINGS.items()}
    answer: dict[str, object] = {"profile": resolved.profile, "settings": values}
    rows: list[tuple[object, ...]] = list(values.items())
    headings: tuple[str, ...] = ("SETTING", "VALUE")
    if origin:
        answer["origins"] = dict(resolved.origins)
        rows = [(key, value, resolved.origins[key]) for key, value in values.items()]
        headings = ("SETTING", "VALUE", "FROM")
    common.output.show(answer, f"profile {resolved.profile}\n" + table(headings, rows))
