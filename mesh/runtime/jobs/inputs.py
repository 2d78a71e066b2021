"""Public inputs of jobs, such as the model of a training round: named by digest, fetched from whoever asks.

Invariant: what `obtain` returns has the digest that the job names, whoever sent it; at most HELD_BYTES are
kept, the oldest are dropped first; a fetch is bounded in size and time. Blobs are public to the members of
the mesh and never executable. Pieces are asked for one by one, so a slow receiver is never flooded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import trio

from mesh.runtime import background
from mesh.runtime.postman import Postman
from protocols.errors import ConfigError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.learning.faults import INPUT
from protocols.learning.rounds import blob_name
from protocols.wire.bounds import AtMost, Between

PIECE_BYTES = 1 << 20
MAX_BLOB_BYTES = 1 << 28
HELD_BYTES = 1 << 29
PIECE_S = 5.0
FETCH_S = 120.0
MAX_FETCHES = 4


@dataclass(frozen=True, slots=True)
class InputRequest:
    """Owner to requester: the piece of a public input that starts at `offset`."""

    KIND: ClassVar[str] = "input-request"
    name: Digest
    offset: Annotated[int, Between(0, MAX_BLOB_BYTES)]


@dataclass(frozen=True, slots=True)
class InputPiece:
    """Requester to owner; `size` 0: there is no such input here."""

    KIND: ClassVar[str] = "input-piece"
    name: Digest
    offset: Annotated[int, Between(0, MAX_BLOB_BYTES)]
    size: Annotated[int, Between(0, MAX_BLOB_BYTES)]
    data: Annotated[bytes, AtMost(PIECE_BYTES)]


INPUT_MESSAGES: tuple[type, ...] = (InputRequest, InputPiece)


class Inputs:
    """The public inputs that this node holds, serves and fetches."""

    def __init__(self, postman: Postman) -> None:
        self._postman = postman
        self._held: OrderedDict[Digest, bytes] = OrderedDict()
        self._size = 0
        self._fetching: dict[Digest, tuple[PartyId, trio.MemorySendChannel[InputPiece]]] = {}
        self._done: dict[Digest, trio.Event] = {}

    def publish(self, blob: bytes) -> Digest:
        """Hold a blob and serve it to members. Raises ConfigError C-646 if it is too large."""
        return self.hold(blob_name(blob), blob)

    def hold(self, name: Digest, blob: bytes) -> Digest:
        """The same for a blob whose digest is known: `name` must be that."""
        if len(blob) > MAX_BLOB_BYTES:
            raise _missing(f"a public input of {len(blob)} bytes is more than {MAX_BLOB_BYTES}")
        if name not in self._held:
            self._held[name] = blob
            self._size += len(blob)
        self._held.move_to_end(name)
        while self._size > HELD_BYTES:
            _, dropped = self._held.popitem(last=False)
            self._size -= len(dropped)
        return name

    def forget(self, name: Digest) -> None:
        """Nobody will ask for it any more."""
        self._size -= len(self._held.pop(name, b""))

    def held(self, name: Digest) -> bytes | None:
        """The blob, if it is here."""
        return self._held.get(name)

    async def obtain(self, names: Sequence[Digest], source: PartyId) -> tuple[bytes, ...]:
        """All these blobs, those that are missing from `source`. Raises ConfigError C-646."""
        for name in names:
            while name not in self._held:
                if name in self._done:
                    await self._done[name].wait()
                    if name not in self._held:
                        raise _missing("a public input of the job could not be fetched")
                else:
                    await self._fetch(name, source)
        return tuple(self._held[name] for name in names)

    def receive(self, sender: PartyId, message: InputRequest | InputPiece) -> None:
        """A request or a piece. Raises UnexpectedMessage for a piece nobody asked `sender` for."""
        if isinstance(message, InputRequest):
            blob = self._held.get(message.name, b"")
            data = blob[message.offset : message.offset + PIECE_BYTES]
            self._postman.post((sender,), InputPiece(message.name, message.offset, len(blob), data))
            return
        source, pieces = self._fetching.get(message.name, (None, None))
        if source != sender or pieces is None:
            raise UnexpectedMessage("a piece that nobody asked for")
        try:
            pieces.send_nowait(message)
        except trio.WouldBlock:
            raise UnexpectedMessage("more pieces than were asked for") from None

    async def _fetch(self, name: Digest, source: PartyId) -> None:
        if len(self._done) >= MAX_FETCHES:
            raise _missing(f"{MAX_FETCHES} public inputs are being fetched already")
        done = self._done[name] = trio.Event()
        send, receive = trio.open_memory_channel[InputPiece](1)
        self._fetching[name] = (source, send)
        blob = bytearray()
        try:
            with trio.fail_after(FETCH_S):
                while True:
                    self._postman.post((source,), InputRequest(name, len(blob)))
                    with trio.fail_after(PIECE_S):
                        piece = await receive.receive()
                    if piece.size == 0 or piece.offset != len(blob) or not piece.data:
                        raise _missing("whoever asks does not have the job's public input")
                    blob += piece.data
                    if len(blob) >= piece.size:
                        break
        except trio.TooSlowError:
            raise _missing("a public input of the job did not arrive in time") from None
        finally:
            del self._fetching[name]
            whole = bytes(blob)
            del blob
            with trio.CancelScope(shield=True):
                if await background.run(blob_name, whole) == name:
                    self.hold(name, whole)
            del self._done[name]
            done.set()
        if name not in self._held:
            raise _missing("a public input of the job is not the one that was named")


def _missing(what: str) -> ConfigError:
    return ConfigError(what, code=INPUT, fix="whoever asks submits the job again")
