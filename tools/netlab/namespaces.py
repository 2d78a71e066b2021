"""Network namespaces of a lab: made by us under our own names, left by us, and nothing else touched.

A name is coppice-PID-SITE with the pid of the lab, so that `clean` can tell what a lab that died left behind.
Nothing leads out of such a namespace but its TUN device, whose other end is the router.

Invariant: only namespaces whose name begins with PREFIX are ever entered, changed or removed.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

from protocols.errors import ConfigError
from tools.netlab.topology import Site

PREFIX = "coppice-"
FOLDER = Path("/run/netns")
DEVICE = "wan0"
TUN = Path("/dev/net/tun")
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x0001 | 0x1000


def missing() -> str:
    """Why no lab can run here, as a sentence; empty when it can."""
    if os.geteuid() != 0:
        return "netlab needs root, to make network namespaces: run it with sudo"
    if not TUN.exists():
        return "netlab needs TUN devices: this machine has no /dev/net/tun (modprobe tun)"
    if shutil.which("ip") is None:
        return "netlab needs the command `ip`: install iproute2"
    pid = os.fork()
    if pid == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0 else 1)
    if os.waitpid(pid, 0)[1] != 0:
        return "netlab needs network namespaces: this kernel or container does not let us make one"
    return ""


def require() -> None:
    """Raises ConfigError C-101 with the sentence of `missing`."""
    why = missing()
    if why:
        what, _, fix = why.partition(": ")
        raise ConfigError(what, code="C-101", fix=fix)


def name_of(site: Site) -> str:
    """The namespace of a site in a lab of this process."""
    return f"{PREFIX}{os.getpid()}-{site.name}"


def make(site: Site) -> str:
    """An empty namespace for a site; its name."""
    name = name_of(site)
    _ip("netns", "add", name)
    return name


def configure(name: str, site: Site) -> None:
    """Address and route, once the router holds the other end of the device."""
    lines = (
        "link set lo up",
        f"addr add {site.host}/32 dev {DEVICE}",
        f"link set {DEVICE} up",
        f"route add default dev {DEVICE}",
    )
    _ip("-n", name, "-batch", "-", given="\n".join(lines) + "\n")


def enter(name: str) -> None:
    """Move this thread, hence a process that has just been forked, into one of ours. Raises OSError."""
    if not name.startswith(PREFIX):
        raise ValueError(f"{name} is not a namespace of ours")
    with (FOLDER / name).open("rb") as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {name}")


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the lab dies, however it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def open_tun() -> int:
    """A TUN device in the namespace we are in; its descriptor. It vanishes when that is closed."""
    descriptor = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN_NO_PI))
    return descriptor


def remove(name: str) -> None:
    """End what still runs in a namespace of ours, and remove it."""
    if not name.startswith(PREFIX):
        raise ValueError(f"{name} is not a namespace of ours")
    for pid in _ip("netns", "pids", name).split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    _ip("netns", "del", name)


def left_behind() -> list[str]:
    """Namespaces of labs whose process is gone."""
    if not FOLDER.is_dir():
        return []
    found = []
    for path in FOLDER.iterdir():
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if path.name.startswith(PREFIX) and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            found.append(path.name)
    return sorted(found)


def clean() -> list[str]:
    """Remove what labs that died left behind; the names."""
    names = left_behind()
    for name in names:
        remove(name)
    return names


def gone(pid: int, patience_s: float) -> bool:
    """Wait until a process has ended that may not be our child."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def _ip(*words: str, given: str | None = None) -> str:
    done = subprocess.run(
        ["ip", *words], input=given, capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode != 0:
        raise ConfigError(
            f"`ip {' '.join(words)}` failed: {done.stderr.strip()}",
            code="C-101",
            fix="python -m tools.netlab clean",
        )
    return done.stdout
