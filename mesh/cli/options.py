"""Options that every verb has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mesh.api.client import Client
from mesh.cli.output import Output
from mesh.runtime.home import Home


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Common:
    """--home and --json."""

    home: Annotated[Path | None, Parameter(help="State folder [COPPICE_HOME, else the XDG data folder].")] = (
        None
    )
    json: Annotated[bool, Parameter(help="One JSON object on stdout.", negative="")] = False

    @property
    def folder(self) -> Home:
        """The state folder."""
        return Home.locate(self.home)

    @property
    def client(self) -> Client:
        """The node's client."""
        return Client(self.folder)

    @property
    def output(self) -> Output:
        """Where answers go."""
        return Output(self.json)


COMMON = Common()
