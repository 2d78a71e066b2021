"""What the peers' own records say after the blows: sessions ended, verdicts that agree, ledgers intact.

Invariant checked: a session that somebody was told is definitely aborted was opened by nobody, and all
owners who saw a session opened saw it opened over the same sites.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from mesh.data.room import DataRoom
from mesh.runtime.demo.local_mesh import LocalMesh
from mesh.runtime.home import Home
from protocols.errors import MeshError

OPENED = "Opened"


def open_sessions(home: Home) -> list[str]:
    """Sessions that this peer's journal still shows as live, in hex."""
    return [session for session, ended, _ in _sessions(home) if ended is None]


def outcomes(homes: Iterable[Home]) -> dict[str, list[str]]:
    """How each session ended, by session in hex, one entry for each peer that ended it."""
    found: dict[str, list[str]] = defaultdict(list)
    for home in homes:
        for session, _, outcome in _sessions(home):
            if outcome:
                found[session].append(outcome)
    return found


def contradictions(homes: Iterable[Home], aborted: Iterable[str]) -> list[str]:
    """What the records of stopped peers say that cannot all be true, in words; empty is well."""
    homes = list(homes)
    found = []
    ends = outcomes(homes)
    for session in aborted:
        if OPENED in ends.get(session, ()):
            found.append(f"session {session[:8]} was told to be aborted for certain, yet somebody opened it")
    rosters: dict[str, set[str]] = defaultdict(set)
    for home in homes:
        room = DataRoom(home.root)
        room.verify()
        for entry in room.history():
            if entry.kind == "result":
                rosters[entry.session].add(str(entry.body.get("roster", entry.body)))
    for session, seen in rosters.items():
        if len(seen) > 1:
            found.append(f"session {session[:8]} opened over different sites: {sorted(seen)}")
    return found


def states(mesh: LocalMesh) -> list[str]:
    """Each running peer in a few words, for the person who looks for the reason."""
    found = []
    for peer in mesh.running:
        try:
            s = peer.client.status()
        except MeshError as error:
            found.append(f"{peer.name}: {error.args[0]}")
            continue
        words = f"{peer.name}: {s.state} epoch {s.epoch} alive {s.alive} links {s.links}"
        left = open_sessions(peer.home)
        found.append(words + (f" sessions {[session[:8] for session in left]}" if left else ""))
    return found


def _sessions(home: Home) -> list[tuple[str, float | None, str | None]]:
    if not Path(home.journal).exists():
        return []
    with closing(sqlite3.connect(home.journal, timeout=5.0)) as connection:
        rows = connection.execute("SELECT session, ended, outcome FROM sessions").fetchall()
    return [(bytes(session).hex(), ended, outcome) for session, ended, outcome in rows]
