"""Long binary answers in pieces: a file or bytes, never whole in a buffer of the server's, off the loop.

Invariant: Content-Length is sent first, so a client notices an answer that breaks off.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PIECE_BYTES = 1 << 18


class Octets(Response):
    """Answers with the content of a file, or with bytes."""

    media_type = "application/octet-stream"

    def __init__(self, content: Path | bytes) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        self._content = content
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        self.headers["content-length"] = str(size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak ASGI: headers, then the pieces."""
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        content = self._content
        file: BinaryIO = content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
        with file:
            while piece := await trio.to_thread.run_sync(file.read, PIECE_BYTES):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
