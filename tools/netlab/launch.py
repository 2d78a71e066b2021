"""Starts and signals the daemons of a lab, each inside its site's namespace.

`fork`: children of the lab, forked after one import of everything, which takes 50 ms and little memory each.
`commands`: each step is a command line of the README's section on three sites, in the site's namespace, so
that the lab proves that text.

Invariant: a process that was started here is ended here, paused or not; forked ones die with the lab even if
it is killed, detached ones are found in their namespace by `clean`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from mesh.api.client import Client
from mesh.api.shapes import InviteSpec
from mesh.config import resolve
from mesh.runtime import keystore
from mesh.runtime.home import Home
from protocols.errors import ConfigError, MeshError
from tools.chaos.oracle import DATASET, STATISTICS, Oracle, allow_overlap
from tools.netlab import namespaces
from tools.netlab.topology import Lab, Node

ANSWER_S = 3.0
COMMAND_S = 60.0
END_S = 4.0
ROOT = Path(__file__).resolve().parents[2]

INIT = "coppice init --name {name} --site {site} --listen {address}"
UP = "coppice up --detach"
INVITE = "coppice invite"
JOIN = "coppice join {ticket}"
DATA = "coppice data add {file} --as {dataset}"
POLICY = "coppice policy init {dataset} --allow {statistics} --min-sites {min_sites}"
"""As the README writes them; --home, --profile and --json are added, and --set for the lab's settings."""


class Daemon:
    """One node of the lab. `pid` is 0 when it does not run."""

    def __init__(self, lab: Lab, node: Node, folder: Path, namespace: str) -> None:
        self.lab, self.node, self.namespace = lab, node, namespace
        self.home = Home(folder / node.name)
        self.client = Client(self.home, ANSWER_S)
        self.pid = 0
        self.paused = False

    @property
    def answers(self) -> bool:
        """Whether it makes sense to ask it something."""
        return bool(self.pid) and not self.paused

    def ended_by_itself(self) -> str:
        """The last words of a process that nobody ended, else nothing."""
        if not self.pid or not namespaces.gone(self.pid, 0.0):
            return ""
        self._ended(0.0)
        lines = self.home.log.read_text(errors="replace").splitlines() if self.home.log.exists() else []
        return f"{self.node.name} ended by itself: {lines[-1] if lines else 'it said nothing'}"

    def prepare(self, oracle: Oracle, min_sites: int) -> None:
        """Folder, keys, data and policy."""
        self.home.create()
        keystore.create(self.home)
        if self.node.holds_rows:
            oracle.give(self.node.name, self.home, min_sites)

    def ticket(self) -> str:
        """A new invitation."""
        return self.client.invite(InviteSpec()).ticket

    def join(self, ticket: str) -> None:
        """Take a ticket before the first start."""
        self.home.save_pending_join(ticket)

    def start(self) -> None:
        """Begin a process; it answers a little later."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _child(self)

    def signal(self, number: int) -> None:
        """Send a signal to our process."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def pause(self) -> None:
        """SIGSTOP: the process stays, silent."""
        self.paused = True
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)
        self.paused = False

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        self._ended(END_S)

    def stop(self) -> None:
        """Politely, then for good."""
        self.resume()
        self.signal(signal.SIGTERM)
        if not self._ended(END_S):
            self.kill()

    def _ended(self, patience_s: float) -> bool:
        if self.pid:
            if not namespaces.gone(self.pid, patience_s):
                return False
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self.pid = 0
        return True


class CommandedDaemon(Daemon):
    """The same by the README's command lines."""

    def prepare(self, oracle: Oracle, min_sites: int) -> None:
        """`init`, `data add`, `policy init`."""
        node = self.node
        words = ["--profile", self.lab.profile, *([] if node.gateway else ["--no-gateway"])]
        self._command(INIT, words, name=node.name, site=node.site, address=node.address)
        if node.holds_rows:
            self._command(DATA, (), file=oracle.files[node.name], dataset=DATASET)
            allowed = ",".join(STATISTICS)
            self._command(POLICY, (), dataset=DATASET, statistics=allowed, min_sites=min_sites)
            allow_overlap(self.home)

    def ticket(self) -> str:
        """`invite`."""
        return str(self._command(INVITE, ())["ticket"])

    def join(self, ticket: str) -> None:
        """`join`."""
        self._command(JOIN, (), ticket=ticket)

    def start(self) -> None:
        """`up --detach`."""
        settings = [f"--set={key}={_as_text(value)}" for key, value in self.lab.settings.items()]
        self._command(UP, settings)
        self.pid = self.home.holder() or 0

    def _command(self, template: str, more: Sequence[str], **values: object) -> dict[str, object]:
        """Run one line in the site's namespace; its answer. Raises ConfigError with what it said."""
        words = [str(word).format(**values) for word in template.split()[1:]]
        line = [sys.executable, str(ROOT / "node.py"), *words, *more, "--home", str(self.home.root), "--json"]
        done = subprocess.run(
            line, preexec_fn=_entering(self.namespace), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=COMMAND_S,
        )  # fmt: skip
        if done.returncode != 0:
            raise ConfigError(
                f"`coppice {' '.join(words)[:80]}` ended with {done.returncode}: {done.stderr[-400:]}",
                code="C-101",
                fix=f"see the logs under {self.home.root}",
            )
        answer: dict[str, object] = json.loads(done.stdout)
        return answer


def daemon_for(lab: Lab, node: Node, folder: Path, namespace: str) -> Daemon:
    """The daemon of a node, by the lab's way to launch."""
    kind = CommandedDaemon if lab.launch == "commands" else Daemon
    return kind(lab, node, folder, namespace)


def settings_of(lab: Lab, node: Node) -> dict[str, object]:
    """Dotted keys on top of the lab's profile."""
    return {
        **lab.settings,
        "node.name": node.name,
        "node.site": node.site,
        "node.gateway": node.gateway,
        "network.listen": (node.address,),
    }


def preload() -> None:
    """Import what the daemons need once, before any fork."""
    import mesh.net.libp2p_transport
    import mesh.runtime.daemon  # noqa: F401 - shared by all forked daemons


def _entering(namespace: str) -> Callable[[], None]:
    return lambda: namespaces.enter(namespace)


def _as_text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _child(daemon: Daemon) -> None:
    """A forked daemon. Never returns."""
    code = 1
    try:
        namespaces.die_with_parent()
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        log = os.open(daemon.home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.closerange(3, 1024)  # the router's orders among them: it ends when the lab closes them
        namespaces.enter(daemon.namespace)
        code = _serve(daemon)
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


def _serve(daemon: Daemon) -> int:
    from mesh.runtime import logs
    from mesh.runtime.daemon import run

    logs.configure("info")
    lab = daemon.lab
    config = resolve(None, flags=settings_of(lab, daemon.node), environment={}, profile=lab.profile).config
    with daemon.home.lock("node"):
        return run(daemon.home, config, ready=lambda: None)
