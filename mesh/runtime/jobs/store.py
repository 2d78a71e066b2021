"""Jobs on disk, so that the person who asked reads the result though the daemon was gone meanwhile.

One JSON file a job in the state folder, mode 0600, replaced as a whole: what was asked, and as soon as
there is one the plan of its session. It is written before the session begins, and if it cannot be written the
session does not begin: so a session that is out there is known here. After a restart ended jobs are listed as
they were; one whose session had begun waits for its end, of which this node's rebuilt machine or any other
party's proof tells; one that had not begun begins anew.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from mesh.api import jsonshape
from mesh.api.shapes import JobInfo
from protocols.errors import MeshError, SessionAborted
from protocols.identifiers import PartyId
from protocols.programs.plan import ProgramPlan
from protocols.sessions.plan import Plan
from protocols.wire import codec

log = structlog.get_logger("coppice.jobs")


@dataclass(frozen=True, slots=True)
class Stored:
    """A job as it was last written; `plan` of its last session, `revealed` what its person was told, and the
    `names` of its sites, which a node that has just started does not know yet.
    """

    info: JobInfo
    plan: Plan | ProgramPlan | None
    revealed: tuple[str, ...]
    names: dict[PartyId, str]


class JobStore:
    """The jobs of one state folder. Blocking: call in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(
        self,
        info: JobInfo,
        plan: Plan | ProgramPlan | None = None,
        revealed: tuple[str, ...] = (),
        names: dict[PartyId, str] | None = None,
    ) -> bool:
        """Write a job; what is not given stays as it was. Whether the disk took it."""
        path = self._folder / f"{info.id}.json"
        try:
            known = json.loads(path.read_text("utf-8")) if path.exists() else {}
            document = {
                "info": jsonshape.encode(info),
                "plan": b64encode(codec.encode(plan)).decode() if plan else known.get("plan"),
                "program": isinstance(plan, ProgramPlan) if plan else known.get("program", False),
                "revealed": list(revealed) or known.get("revealed", []),
                "names": {party.hex(): name for party, name in names.items()}
                if names
                else known.get("names", {}),
            }
            self._folder.mkdir(mode=0o700, exist_ok=True)
            new = path.with_suffix(".new")
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except (OSError, ValueError) as error:
            log.warning("job not stored", job=info.id, why=str(error))
            return False
        return True

    def load(self) -> Iterator[Stored]:
        """All jobs, oldest first; a file that cannot be read is passed over."""
        found = []
        for path in self._folder.glob("*.json") if self._folder.is_dir() else ():
            try:
                document = json.loads(path.read_text("utf-8"))
                plan = document["plan"]
                kind: type[Plan] | type[ProgramPlan] = ProgramPlan if document.get("program") else Plan
                found.append(
                    Stored(
                        jsonshape.decode(JobInfo, document["info"]),
                        codec.decode(kind, b64decode(plan)) if plan else None,
                        tuple(str(words) for words in document["revealed"]),
                        {PartyId(bytes.fromhex(key)): str(name) for key, name in document["names"].items()},
                    )
                )
            except (OSError, ValueError, KeyError, TypeError, MeshError) as error:
                log.warning("job not read", file=path.name, why=str(error))
        return iter(sorted(found, key=lambda stored: stored.info.created_at))

    def retain(self, jobs: Collection[str]) -> None:
        """Remove all other jobs."""
        for path in self._folder.glob("*.json") if self._folder.is_dir() else ():
            if path.stem not in jobs:
                path.unlink(missing_ok=True)


def unstored() -> SessionAborted:
    """Why a session does not begin whose job is not on disk: after a crash the job would begin once more."""
    return SessionAborted(
        "the job cannot be stored; nothing was opened", definite=True, fix="look after the disk of the node"
    )
