"""The lab's machinery put together: namespaces, router, daemons; made in order, and always taken down.

Invariant: leaving the context ends every process and removes every namespace of this lab, whatever happened.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mesh.api.outcome import AnswerTimeout, NodeUnreachable
from protocols.errors import DeadlinePassed, LocalMisuse, MeshError
from tools.chaos.oracle import Oracle
from tools.netlab import launch, namespaces
from tools.netlab.launch import Daemon
from tools.netlab.router import RouterProcess
from tools.netlab.topology import Lab

POLL_S = 0.05
ACTS = ("cut", "heal", "kill", "pause", "resume", "restart")
FEWEST_EPOCHS = 2
"""From the second epoch on the beacon was opened by a session, not drawn by the founder."""


class Sites:
    """All sites of a lab. Use as a context manager."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.names: dict[str, str] = {}
        self.router: RouterProcess | None = None
        self.daemons: dict[str, Daemon] = {}
        self._folder = folder
        holders = [node.name for node in lab.nodes if node.holds_rows]
        self.oracle = Oracle(folder, holders, lab.columns, lab.seed)

    def __enter__(self) -> Sites:
        try:
            for site in self.lab.sites:
                self.names[site.name] = namespaces.name_of(site)
                namespaces.make(site)
            self.router = RouterProcess(self.lab, self.names)
            for site in self.lab.sites:
                namespaces.configure(self.names[site.name], site)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Found the mesh at the first node and let all others join with tickets."""
        launch.preload()
        min_sites = min(job.min_sites for job in self.lab.jobs)
        for node in self.lab.nodes:
            daemon = launch.daemon_for(self.lab, node, self._folder, self.names[node.site])
            self.daemons[node.name] = daemon
            daemon.prepare(self.oracle, min_sites)
        founder, *others = self.daemons.values()
        founder.start()
        self.wait_until(
            "the founder is up", lambda: founder.client.status().state == "member", self.lab.formed_s
        )
        for daemon in others:
            daemon.join(founder.ticket())
            daemon.start()

    @property
    def running(self) -> list[Daemon]:
        """Daemons with a process that is not paused."""
        return [daemon for daemon in self.daemons.values() if daemon.answers]

    def act(self, do: str, what: Sequence[str]) -> None:
        """One of ACTS on sites or nodes. Raises LocalMisuse naming what there is."""
        known = [site.name for site in self.lab.sites] if do in ("cut", "heal") else list(self.daemons)
        if do not in ACTS or not what or any(name not in known for name in what):
            raise LocalMisuse(
                f"{do} {' '.join(what)}: not possible here",
                fix=f"use one of {', '.join(ACTS)}, and some of {', '.join(known)}",
            )
        if do in ("cut", "heal"):
            assert self.router is not None
            (self.router.cut if do == "cut" else self.router.heal)(what[:2])
            return
        for daemon in (self.daemons[name] for name in what):
            match do:
                case "kill":
                    daemon.kill()
                case "pause":
                    daemon.pause()
                case "resume":
                    daemon.resume()
                case "restart":
                    daemon.kill()
                    daemon.start()

    def whole(self) -> bool:
        """Whether every running node sees all of them, linked, in one epoch with adders and committees."""
        states = [daemon.client.status() for daemon in self.running]
        count = len(states)
        if any(s.state != "member" or s.alive != count or s.links != count - 1 for s in states):
            return False
        if len({s.epoch for s in states}) != 1 or states[0].epoch < FEWEST_EPOCHS:
            return False
        return all(cluster.adder and cluster.committee for cluster in self.running[0].client.tree().clusters)

    def wait_until(self, what: str, condition: Callable[[], bool], patience_s: float) -> float:
        """Poll until `condition`; how long it took. Raises DeadlinePassed naming `what`."""
        began = time.monotonic()
        while True:
            self.check_alive()
            with contextlib.suppress(NodeUnreachable, AnswerTimeout):
                if condition():
                    return time.monotonic() - began
            if time.monotonic() - began > patience_s:
                raise DeadlinePassed(
                    f"{what}: not within {patience_s:g} s: {'; '.join(self.states())}",
                    definite=True,
                    fix=f"see the logs under {self._folder}",
                )
            time.sleep(POLL_S)

    def check_alive(self) -> None:
        """Raises DeadlinePassed if a daemon ended that nobody ended."""
        for daemon in self.daemons.values():
            words = daemon.ended_by_itself()
            if words:
                raise DeadlinePassed(words, definite=True, fix=f"see the logs under {self._folder}")

    def states(self) -> list[str]:
        """Each node in a few words, for the person who looks for the reason."""
        found = []
        for daemon in self.daemons.values():
            name = daemon.node.name
            if not daemon.answers:
                found.append(f"{name} paused" if daemon.paused else f"{name} down")
                continue
            try:
                s = daemon.client.status()
            except MeshError as error:
                found.append(f"{name}: {error.args[0]}")
                continue
            found.append(f"{name} {s.state} epoch {s.epoch} alive {s.alive} links {s.links}")
        return found

    def stop_daemons(self) -> None:
        """End all daemons; the namespaces stay."""
        for daemon in self.daemons.values():
            daemon.resume()
        for daemon in self.daemons.values():
            daemon.stop()

    def close(self) -> None:
        """End everything and remove the namespaces."""
        with contextlib.ExitStack() as stack:  # each step is done even if one before it fails
            for name in self.names.values():
                stack.callback(self._remove, name)
            if self.router is not None:
                stack.callback(self.router.close)
            stack.callback(self.stop_daemons)
        self.names = {}
        self.router = None

    def _remove(self, name: str) -> None:
        if (namespaces.FOLDER / name).exists():
            namespaces.remove(name)
