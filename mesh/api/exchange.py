"""One HTTP request over a Unix socket: just enough of RFC 9112 for our own server.

Requests are HTTP/1.0, so the answer is never chunked and ends with the connection. Python's http.client
would do, but costs every command 50 ms for mail parsing and TLS it does not use.

Invariant: an answer that breaks off before its Content-Length raises, it is never taken for complete.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from mesh.api.outcome import NodeUnreachable
from mesh.runtime.home import Home, socket_address

MAX_HEAD_BYTES = 32 * 1024
PIECE_BYTES = 1 << 20
MAX_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, declared length (None for a stream) and the rest of the connection.

    `connection` is there for its timeout only.
    """

    status: int
    length: int | None
    stream: BinaryIO
    connection: socket.socket

    def read(self) -> bytes:
        """The whole body. Raises NodeUnreachable when it broke off or is absurdly large."""
        content = self.stream.read(MAX_ANSWER_BYTES)
        if self.length is not None and len(content) != self.length:
            raise _broken_off()
        return content

    def pieces(self) -> Iterator[bytes]:
        """The body of a long answer, piece by piece. Raises NodeUnreachable when it broke off."""
        remaining = self.length or 0
        while remaining:
            piece = self.stream.read(min(remaining, PIECE_BYTES))
            if not piece:
                raise _broken_off()
            remaining -= len(piece)
            yield piece


@contextlib.contextmanager
def exchange(home: Home, method: str, path: str, body: bytes, timeout_s: float | None) -> Iterator[Answer]:
    """Send one request; the answer is open inside the `with`.

    Raises NodeUnreachable (nobody listens, broke off) and TimeoutError (silence of `timeout_s`).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        _connect(connection, home)
        request = (
            f"{method} {path} HTTP/1.0\r\nHost: coppice\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            connection.sendall(request.encode() + body)
            with connection.makefile("rb") as stream:
                status, length = _head(stream)
                yield Answer(status, length, stream, connection)
        except TimeoutError:
            raise
        except OSError as error:
            raise NodeUnreachable(
                f"the node broke off while it was asked: {error.strerror or type(error).__name__}",
                fix="run: coppice status",
            ) from None


def _connect(connection: socket.socket, home: Home) -> None:
    try:
        with socket_address(home.socket) as address:
            connection.connect(address)
    except PermissionError:
        raise NodeUnreachable(
            f"you may not open {home.socket}", fix="run as the user that started the node"
        ) from None
    except OSError:
        raise NodeUnreachable(
            f"no node answers at {home.root}", fix=f"start it: coppice up --detach --home {home.root}"
        ) from None


def _head(stream: BinaryIO) -> tuple[int, int | None]:
    """Status and Content-Length. Raises NodeUnreachable for anything that is not an HTTP answer."""
    words = stream.readline(MAX_HEAD_BYTES).split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise NodeUnreachable("what answers on the control socket is not a node", fix="see: coppice doctor")
    length: int | None = None
    remaining = MAX_HEAD_BYTES
    while (line := stream.readline(remaining)) not in (b"\r\n", b"\n"):
        remaining -= len(line)
        if not line or remaining <= 0:
            raise NodeUnreachable("the node broke off before it answered", fix="run: coppice status")
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            length = int(value)
    return int(words[1]), length


def _broken_off() -> NodeUnreachable:
    return NodeUnreachable("the node broke off in the middle of its answer", fix="run: coppice status")
