"""A person's orders to a lab that runs: one line over a Unix socket in the lab's own folder, one line back.

Invariant: the folder is 0700, so that only who runs the lab can order it about.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

from protocols.errors import MeshError, TransportError
from tools.netlab.sites import Sites

FOLDER = "coppice-netlab-"
NAME = "orders"
MAX_LINE = 4096
PATIENCE_S = 30.0
"""A lab looks for orders between all else that it does."""


class Orders:
    """The lab's end. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(folder / NAME))
        self._listener.listen(4)
        self._listener.setblocking(False)

    def __enter__(self) -> Orders:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def serve(self, sites: Sites) -> None:
        """Carry out an order if one waits."""
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(1.0)
                with contextlib.suppress(OSError):
                    do, *what = connection.recv(MAX_LINE).decode().split()
                    connection.sendall(_carried_out(sites, do, what).encode())


def send(do: str, what: Sequence[str]) -> str:
    """Order the lab that runs; its answer. Raises TransportError if none runs."""
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{FOLDER}*/{NAME}"), reverse=True):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            try:
                connection.connect(str(path))
            except ConnectionRefusedError:  # of a lab that is over and was kept
                continue
            connection.sendall(" ".join((do, *what)).encode())
            return connection.recv(MAX_LINE).decode()
    raise TransportError("no lab runs here", code="C-510", fix="python -m tools.netlab run LAB.toml --hold")


def _carried_out(sites: Sites, do: str, what: Sequence[str]) -> str:
    try:
        sites.act(do, what)
    except MeshError as error:
        return error.sentence()
    return f"done: {do} {' '.join(what)}"
