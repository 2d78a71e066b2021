"""Masked vectors of one session on disk: named by digest, verified piece by piece, added span by span.

    name = H(session, H(piece 0), H(piece 1), …)

One file a vector in the session's own spool folder, which is removed when the session ends. Nothing longer
than a span (65,536 coordinates) is ever in memory, so a vector of ten million values costs a node no more
than a short one. A piece that does not match its digest, was not asked for, or comes from somebody else
than whom it was asked of, is refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalMisuse, MalformedMessage, MeshError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.masking import one_shot
from protocols.masking.layout import Layout
from protocols.wire.bounds import AtMost, Between
from protocols.wire.digest import digest

MAX_PIECES = 8192
MAX_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class VectorOffer:
    """I have this vector for you; its pieces have these digests."""

    KIND: ClassVar[str] = "vector-offer"
    name: Digest
    pieces: Annotated[tuple[Digest, ...], AtMost(MAX_PIECES)]


@dataclass(frozen=True, slots=True)
class VectorRequest:
    """Send me these pieces: all of them, or after a broken link those that did not come."""

    KIND: ClassVar[str] = "vector-request"
    name: Digest
    wanted: Annotated[bytes, AtMost(MAX_PIECES // 8)]
    """Piece i is bit i % 8, the lowest first, of byte i // 8."""


@dataclass(frozen=True, slots=True)
class VectorPiece:
    """One packed span."""

    KIND: ClassVar[str] = "vector-piece"
    name: Digest
    index: Annotated[int, Between(0, MAX_PIECES)]
    data: Annotated[bytes, AtMost(MAX_PIECE_BYTES)]


class SpoolFull(MeshError):
    """The disk does not take another vector."""

    code = "C-119"


@dataclass(slots=True)
class _Incoming:
    senders: set[PartyId]
    pieces: tuple[Digest, ...]
    missing: set[int] = field(default_factory=set)


class VectorStore:
    """The vectors of one session. Blocking; only `piece_of` and `take` are called on the event loop."""

    def __init__(self, folder: Path, session: SessionId, layout: Layout, most: int) -> None:
        """`most`: how many vectors may be held or under way at once."""
        self.layout = layout
        self._session = session
        self._folder = folder / session.hex()
        self._most = most
        self._held: dict[Digest, tuple[Digest, ...]] = {}
        self._incoming: dict[Digest, _Incoming] = {}
        self._starts = np.cumsum([0] + [layout.span_bytes(i) for i in range(layout.spans)]).tolist()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- our own --------------------------------------------------------------------------------------

    def keep(self, pieces: Iterable[npt.NDArray[np.uint8]]) -> Digest:
        """Store a vector made here, piece by piece; its name. Raises SpoolFull."""
        partial = self._folder / "own.part"
        digests = []
        try:
            with partial.open("wb") as file:
                for piece in pieces:
                    digests.append(digest("vector piece", piece.tobytes()))
                    file.write(piece.tobytes())
            name = self._name(digests)
            partial.replace(self._path(name))
        except OSError as error:
            raise _full(self._folder, error) from error
        self._held[name] = tuple(digests)
        return name

    def offer(self, name: Digest) -> VectorOffer:
        """What to tell somebody who shall have it. Raises LocalMisuse if it is not here."""
        if name not in self._held:
            raise LocalMisuse("a vector is offered that is not stored")
        return VectorOffer(name, self._held[name])

    def piece_of(self, name: Digest, index: int) -> VectorPiece:
        """One piece to send."""
        with self._path(name).open("rb") as file:
            file.seek(self._starts[index])
            return VectorPiece(name, index, file.read(self._starts[index + 1] - self._starts[index]))

    # -- others' --------------------------------------------------------------------------------------

    def expect(self, sender: PartyId, offer: VectorOffer) -> bool:
        """Whether an offered vector is still wanted. Raises MalformedMessage, UnexpectedMessage."""
        if len(offer.pieces) != self.layout.spans or self._name(offer.pieces) != offer.name:
            raise MalformedMessage("an offered vector's pieces do not match its name", blame=sender)
        if offer.name in self._held:
            return False
        known = self._incoming.get(offer.name)
        if known is not None:  # whoever offers it as well is asked as well: the first may never send
            known.senders.add(sender)
            return True
        if len(self._held) + len(self._incoming) >= self._most:
            raise UnexpectedMessage("more vectors than the plan has parties")
        self._incoming[offer.name] = _Incoming({sender}, offer.pieces, set(range(self.layout.spans)))
        return True

    def request(self, name: Digest) -> VectorRequest:
        """What to ask for: the pieces that are missing. Raises LocalMisuse unless the vector is expected."""
        if name not in self._incoming:
            raise LocalMisuse("a vector is asked for that is not expected")
        return VectorRequest(name, _bits(self._incoming[name].missing, self.layout.spans))

    def wanted(self, sender: PartyId, request: VectorRequest) -> list[int]:
        """Pieces that somebody asks for, ascending. Raises MalformedMessage."""
        bits, spans = int.from_bytes(request.wanted, "little"), self.layout.spans
        if len(request.wanted) != -(-spans // 8) or bits >> spans:
            raise MalformedMessage("pieces are asked for that a vector does not have", blame=sender)
        return [index for index in range(spans) if bits >> index & 1]

    def take(self, sender: PartyId, piece: VectorPiece) -> bool:
        """Store one piece; True when the vector is whole now. Raises ProtocolError, SpoolFull."""
        incoming = self._incoming.get(piece.name)
        if incoming is None or sender not in incoming.senders or piece.index not in incoming.missing:
            raise UnexpectedMessage("a piece of a vector that was not asked for")
        if len(piece.data) != self.layout.span_bytes(piece.index):
            raise MalformedMessage("a piece of a vector has the wrong size", blame=sender)
        if digest("vector piece", piece.data) != incoming.pieces[piece.index]:
            raise MalformedMessage("a piece of a vector differs from its digest", blame=sender)
        path = self._path(piece.name)
        try:
            with path.open("r+b" if path.exists() else "w+b") as file:
                file.seek(self._starts[piece.index])
                file.write(piece.data)
        except OSError as error:
            raise _full(self._folder, error) from error
        incoming.missing.discard(piece.index)
        if incoming.missing:
            return False
        self._held[piece.name] = incoming.pieces
        del self._incoming[piece.name]
        return True

    # -- arithmetic -----------------------------------------------------------------------------------

    def totals(self, parts: tuple[Digest, ...]) -> Iterator[npt.NDArray[np.uint64]]:
        """Running sums of the stored vectors, span by span."""
        files = [self._path(name).open("rb") for name in parts]
        try:
            for index in range(self.layout.spans):
                total = one_shot.empty_total(self.layout, index)
                for file in files:
                    packed = np.frombuffer(file.read(self.layout.span_bytes(index)), dtype=np.uint8)
                    one_shot.add_packed(self.layout, total, packed)
                yield total
        finally:
            for file in files:
                file.close()

    def add(self, parts: tuple[Digest, ...]) -> Digest:
        """Store the sum of stored vectors; its name."""
        return self.keep(one_shot.pack_total(self.layout, total) for total in self.totals(parts))

    def _name(self, pieces: Iterable[Digest]) -> Digest:
        return digest("vector", self._session, b"".join(pieces))

    def _path(self, name: Digest) -> Path:
        return self._folder / name.hex()


def _bits(pieces: Iterable[int], spans: int) -> bytes:
    return sum(1 << index for index in pieces).to_bytes(-(-spans // 8), "little")


def _full(folder: Path, error: OSError) -> SpoolFull:
    return SpoolFull(
        f"the spool {folder} cannot be written: {error.strerror}",
        fix="free some space: a long vector needs its packed size for each device of the cluster",
    )
