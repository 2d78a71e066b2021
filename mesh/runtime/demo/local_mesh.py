"""Many real peers on one machine: one process each, forked after one import, joined by real tickets.

Importing libp2p costs about a second and 60 MB; a fork shares both. The parent must not have started a
thread or an event loop. Every peer has its own state folder and is an ordinary node in all respects.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mesh.api.client import Client
from mesh.api.outcome import NodeUnreachable
from mesh.api.shapes import InviteSpec
from mesh.config import resolve
from mesh.net.transport import Tap
from mesh.runtime import keystore
from mesh.runtime.home import Home
from protocols.errors import DeadlinePassed, MeshError

POLL_S = 0.02
LISTEN = "/ip4/127.0.0.1/tcp/0"


@dataclass(slots=True)
class Peer:
    """One process of the mesh. `pid` is 0 when it does not run."""

    name: str
    home: Home
    settings: Mapping[str, object]
    pid: int = 0
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.home)


class LocalMesh:
    """Starts, watches and ends the peers. Use as a context manager: leaving it ends every process."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        settings: Mapping[str, object] | None = None,
        tap: Callable[[Peer], Tap] | None = None,
    ) -> None:
        """`settings` maps dotted keys to values, on top of the localhost profile.

        `tap` is called in each peer's process; what it returns sees every frame before encryption.
        """
        import mesh.net.libp2p_transport
        import mesh.runtime.daemon  # noqa: F401 - imported before the fork, so that all peers share it

        self.folder = folder
        self._tap = tap
        self.peers: dict[str, Peer] = {}
        for name in names:
            home = Home(folder / name)
            home.create()
            keystore.create(home)
            self.peers[name] = Peer(
                name, home, {"node.name": name, "network.listen": (LISTEN,), **(settings or {})}
            )
        self.founder = self.peers[names[0]]

    def __enter__(self) -> LocalMesh:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- processes ------------------------------------------------------------------------------------

    def start(self, patience_s: float = 30.0) -> None:
        """Found the mesh and let everybody join at once. Raises DeadlinePassed if they do not come up."""
        _wait_for([self._fork(self.founder)], patience_s)
        others = [peer for peer in self.peers.values() if peer is not self.founder]
        for peer in others:
            peer.home.save_pending_join(self.founder.client.invite(InviteSpec()).ticket)
        _wait_for([self._fork(peer) for peer in others], patience_s)

    def restart(self, name: str, patience_s: float = 30.0) -> None:
        """Start a peer again in its old folder."""
        _wait_for([self._fork(self.peers[name])], patience_s)

    def kill(self, name: str) -> None:
        """SIGKILL one of our processes."""
        self._signal(self.peers[name], signal.SIGKILL)
        self._reap(self.peers[name])

    def pause(self, name: str) -> None:
        """SIGSTOP: the process stays, silent."""
        self._signal(self.peers[name], signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT."""
        self._signal(self.peers[name], signal.SIGCONT)

    def stop(self) -> None:
        """End all processes: politely, then for good."""
        for peer in self.running:
            self._signal(peer, signal.SIGCONT)
            self._signal(peer, signal.SIGTERM)
        deadline = time.monotonic() + 4.0
        while self.running and time.monotonic() < deadline:
            for peer in self.running:
                self._reap(peer, os.WNOHANG)
            time.sleep(POLL_S)
        for peer in self.running:
            self._signal(peer, signal.SIGKILL)
            self._reap(peer)

    def release(self) -> None:
        """Forget the processes without ending them."""
        for peer in self.peers.values():
            peer.pid = 0

    @property
    def running(self) -> list[Peer]:
        """Peers whose process was started and not ended by us."""
        return [peer for peer in self.peers.values() if peer.pid]

    def _signal(self, peer: Peer, number: int) -> None:
        if peer.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(peer.pid, number)

    def _reap(self, peer: Peer, options: int = 0) -> None:
        if peer.pid:
            pid, _ = os.waitpid(peer.pid, options)
            if pid:
                peer.pid = 0

    def _fork(self, peer: Peer) -> int:
        """Read end of a pipe on which the child says that it answers."""
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(peer, writer, self._tap)
        os.close(writer)
        peer.pid = pid
        return reader

    # -- waiting --------------------------------------------------------------------------------------

    def wait_until(self, what: str, condition: Callable[[], bool], patience_s: float) -> None:
        """Poll until `condition`. Raises DeadlinePassed naming `what`."""
        deadline = time.monotonic() + patience_s
        while True:
            with contextlib.suppress(NodeUnreachable):
                if condition():
                    return
            if time.monotonic() > deadline:
                raise DeadlinePassed(
                    f"{what}: not within {patience_s:g} s",
                    definite=True,
                    fix=f"see the logs under {self.folder}",
                )
            time.sleep(POLL_S)

    def wait_formed(self, patience_s: float = 60.0) -> None:
        """Until every running peer sees all of them, linked, in one epoch whose beacon a session opened."""

        def formed() -> bool:
            states = [peer.client.status() for peer in self.running]
            count = len(states)
            return all(
                s.state == "member" and s.alive == count and s.links == count - 1 for s in states
            ) and (len({s.epoch for s in states}) == 1 and states[0].epoch >= 2 and self._all_claimed())

        self.wait_until(f"{len(self.running)} peers form a mesh", formed, patience_s)

    def _all_claimed(self) -> bool:
        """Whether the first peer's tree has its adders, and committees of everybody who can serve."""
        tree = self.running[0].client.tree()
        return all(cluster.adder and cluster.committee for cluster in tree.clusters)


def _child(peer: Peer, writer: int, tap: Callable[[Peer], Tap] | None) -> None:
    """The peer's process. Never returns."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        log = os.open(peer.home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = _serve(peer, writer, tap(peer) if tap else None)
    except KeyboardInterrupt:
        code = 0
    except MeshError as error:
        print(error.sentence(), file=sys.stderr)
    except Exception:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _serve(peer: Peer, writer: int, tap: Tap | None) -> int:
    from mesh.runtime import logs
    from mesh.runtime.daemon import run

    logs.configure("info")
    config = resolve(None, flags=dict(peer.settings), environment={}, profile="localhost").config

    def ready() -> None:
        os.write(writer, b"r")
        os.close(writer)

    with peer.home.lock("node"):
        return run(peer.home, config, ready=ready, tap=tap)


def _wait_for(readers: Sequence[int], patience_s: float) -> None:
    """Until each child wrote its byte. Raises DeadlinePassed when one ends or takes too long."""
    deadline = time.monotonic() + patience_s
    waiting = set(readers)
    try:
        while waiting:
            ready, _, _ = select.select(list(waiting), [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise DeadlinePassed("a peer did not come up in time", definite=True, fix="see its log")
            for reader in ready:
                if not os.read(reader, 1):
                    raise DeadlinePassed("a peer ended while it started", definite=True, fix="see its log")
                waiting.discard(reader)
    finally:
        for reader in readers:
            os.close(reader)


def fresh_folder(base: Path) -> Path:
    """A new private folder under `base`."""
    folder = base / f"coppice-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700, parents=True)
    return folder
