"""`init`, `up`, `down`: a node begins, runs, ends.

Invariant: `up` holds the home's lock for as long as the node runs, and a detached `up` returns 0 only
after the node said that it answers.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mesh.api.outcome import AnswerTimeout, Exit, NodeUnreachable
from mesh.cli.interrupts import kept
from mesh.cli.options import COMMON, Common
from mesh.runtime.home import Home
from protocols.errors import ConfigError

READY_WITHIN_S = 60.0
PORTS = range(20_000, 32_000)
"""Below the ephemeral range, so that outgoing connections never take a node's port."""


def init(
    *,
    name: str | None = None,
    site: str | None = None,
    profile: str = "lan",
    listen: Annotated[list[str] | None, Parameter(help="Address such as /ip4/192.168.1.10/tcp/4710.")] = None,
    gateway: Annotated[bool | None, Parameter(help="May sit on committees.")] = None,
    passphrase: Annotated[bool, Parameter(help="Seal the keys with a passphrase.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Make a state folder with fresh keys and settings. Never overwrites keys."""
    from mesh.config import resolve
    from mesh.runtime import keystore

    home = common.folder
    chosen: dict[str, object] = {
        "node.name": name or _default_name(),
        "node.site": site,
        "node.gateway": gateway,
        "network.listen": tuple(listen) if listen else None,
    }
    flags = {key: value for key, value in chosen.items() if value is not None}
    config = resolve(None, flags=flags, environment={}, profile=profile).config
    addresses = tuple(_with_port(address) for address in config.listen)
    home.create()
    with home.lock("init"):
        keystore.refuse_second(home)
        word = _new_passphrase() if passphrase else None
        _write_config(home, profile, flags | {"network.listen": addresses})
        keys = keystore.create(home, word)
    from nacl.signing import SigningKey

    party = bytes(SigningKey(keys.identity.reveal()).verify_key).hex()
    answer: dict[str, object] = {"home": str(home.root), "name": config.name, "site": config.site}
    answer |= {"party": party, "profile": profile, "listen": list(addresses), "config": str(home.config)}
    suffix = f" --home {home.root}" if common.home else ""
    common.output.show(
        answer,
        f"✓ {config.name} · party {party[:8]} · {home.root}\n"
        f"Next: coppice up --detach{suffix} (alone: founds a mesh) or coppice join TICKET{suffix}",
    )


def up(
    *,
    detach: Annotated[bool, Parameter(help="Return once the node answers; it goes on.", negative="")] = False,
    set_: Annotated[
        list[str] | None, Parameter(name="--set", help="KEY=VALUE of a setting, e.g. network.mdns=no.")
    ] = None,
    listen: Annotated[list[str] | None, Parameter(help="Address; replaces network.listen.")] = None,
    ready_fd: Annotated[int | None, Parameter(show=False)] = None,
    common: Common = COMMON,
) -> int:
    """Run the node: joins with a stored ticket, else goes on as a member, else founds a mesh."""
    from mesh.config import resolve
    from mesh.settings import Text

    home = common.folder
    home.require()
    flags: dict[str, object] = {}
    for pair in set_ or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair}: no value", code="C-101", fix="write --set KEY=VALUE")
        flags[key.strip()] = Text(value)
    if listen:
        flags["network.listen"] = tuple(listen)
    config = resolve(home.config, flags=flags).config
    if detach:
        return _detach(home, set_ or [], listen or [], common)
    with home.lock("node"):
        with kept():
            from mesh.runtime import logs
            from mesh.runtime.daemon import run

        logs.configure(config.log_level)
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            return run(home, config, ready=_announcer(home, ready_fd, common))
        except KeyboardInterrupt:
            return int(Exit.OK)


def down(
    *,
    timeout: Annotated[float, Parameter(help="Seconds to wait for the node to end.")] = 10.0,
    force: Annotated[bool, Parameter(help="Kill it when it does not end.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Stop the node of this home and wait until it has ended."""
    home = common.folder
    home.check()
    pid = home.holder()
    if pid is None:
        common.output.show({"done": True, "was_running": False}, "no node was running")
        return
    try:
        common.client.shutdown()
    except NodeUnreachable:
        if pid:
            os.kill(pid, signal.SIGTERM)
    if not _ended(home, timeout):
        if not (force and pid):
            raise AnswerTimeout(
                f"the node (process {pid}) has not ended within {timeout:g} s",
                definite=True,
                fix="coppice down --force",
            )
        os.kill(pid, signal.SIGKILL)
        _ended(home, timeout)
    common.output.show({"done": True, "was_running": True}, "✓ stopped")


def _ended(home: Home, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while home.holder() is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _announcer(home: Home, ready_fd: int | None, common: Common) -> Callable[[], None]:
    def ready() -> None:
        if ready_fd is not None:
            os.write(ready_fd, b"ready\n")
            os.close(ready_fd)
            return
        suffix = f" --home {home.root}" if common.home else ""
        common.output.show(
            {"state": "up", "pid": os.getpid(), "home": str(home.root)},
            f"✓ up · see: coppice status{suffix} · stop with Ctrl-C",
        )

    return ready


def _detach(home: Home, settings: list[str], listen: list[str], common: Common) -> int:
    """Start `up` as a process of its own and wait for its word."""
    import mesh
    from mesh.runtime import keystore

    with home.lock("up"):
        environment = dict(os.environ)
        if keystore.is_sealed(home) and "COPPICE_PASSPHRASE" not in environment:
            environment["COPPICE_PASSPHRASE"] = keystore.ask_passphrase()
    entry = Path(str(mesh.__file__)).resolve().parent.parent / "node.py"
    reader, writer = os.pipe()
    command = [sys.executable, str(entry), "up", "--home", str(home.root), "--ready-fd", str(writer)]
    for flag, values in (("--set", settings), ("--listen", listen)):
        for value in values:
            command += [flag, value]
    descriptor = os.open(home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    start = os.fstat(descriptor).st_size
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=descriptor,
        stderr=descriptor,
        pass_fds=(writer,),
        start_new_session=True,
        env=environment,
    )
    os.close(writer)
    os.close(descriptor)
    try:
        came_up = _wait_for_word(reader)
    except KeyboardInterrupt:
        child.terminate()
        raise
    if came_up:
        answer = {"state": "up", "pid": child.pid, "home": str(home.root), "log": str(home.log)}
        common.output.show(answer, f"✓ up · process {child.pid} · log {home.log}")
        child.returncode = 0
        return int(Exit.OK)
    return _explain_failure(child, home.log, start)


def _wait_for_word(reader: int) -> bool:
    import select

    try:
        readable, _, _ = select.select([reader], [], [], READY_WITHIN_S)
        return bool(readable) and os.read(reader, 16).startswith(b"ready")
    finally:
        os.close(reader)


def _explain_failure(child: subprocess.Popen[bytes], log: Path, start: int) -> int:
    """The child ended or hangs: pass on its own words and exit code."""
    try:
        code = child.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        child.terminate()
        raise AnswerTimeout(
            f"the node did not come up within {READY_WITHIN_S:g} s", definite=True, fix=f"see its log: {log}"
        ) from None
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read(64 * 1024).decode(errors="replace").strip().splitlines()
    first = next((index for index, line in enumerate(lines) if line.startswith("C-")), None)
    if first is None:
        raise NodeUnreachable(f"the node ended at once (exit code {code})", fix=f"see its log: {log}")
    code_, _, rest = "\n".join(lines[first:]).partition(": ")
    what, _, fix = rest.rpartition(" · ")
    error = ConfigError(what or rest, code=code_, fix=fix if what else "")
    if code == Exit.USAGE:
        raise error
    raise NodeUnreachable(str(error.args[0]), code=code_, fix=error.fix)


def _default_name() -> str:
    import re

    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:32].strip("-._") or "node"


def _with_port(address: str) -> str:
    """Choose a port now when the system was to choose one: tickets hold addresses that should stay true."""
    head, _, port = address.rpartition("/")
    return address if port != "0" else f"{head}/{_free_port()}"


def _free_port() -> int:
    for _ in range(200):
        port = PORTS[secrets.randbelow(len(PORTS))]
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise ConfigError("no free port was found", code="C-147", fix="name one: --listen /ip4/ADDRESS/tcp/PORT")


def _new_passphrase() -> str:
    import getpass

    given = os.environ.get("COPPICE_PASSPHRASE")
    if given:
        return given
    if not sys.stdin.isatty():
        raise ConfigError(
            "nobody is there to type a passphrase", code="C-153", fix="give it in COPPICE_PASSPHRASE"
        )
    first = getpass.getpass("new passphrase: ")
    if not first or first != getpass.getpass("once more: "):
        raise ConfigError("the two are not the same, or empty", code="C-153", fix="try again")
    return first


def _write_config(home: Home, profile: str, settings: dict[str, object]) -> None:
    import json

    lines = [
        "# Settings of this node; all others come from the profile. See: coppice config show --origin",
        f"profile = {json.dumps(profile)}",
    ]
    sections: dict[str, list[str]] = {}
    for key, value in settings.items():
        section, _, entry = key.partition(".")
        sections.setdefault(section, []).append(f"{entry} = {json.dumps(value)}")
    for section, entries in sections.items():
        lines += ["", f"[{section}]", *entries]
    home.write(home.config.name, ("\n".join(lines) + "\n").encode())
