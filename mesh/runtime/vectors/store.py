"""Masked vectors of one session on disk: named by digest, verified piece by piece, added span by span.

    name = H(session, H(piece 0), H(piece 1), …)

Every byte is hashed once at each end. The offer, a signed message like all others, lists the digests of the
pieces; the pieces follow as bare frames (`VectorPiece.frame`) without a signature of their own: the link
proves from whom they come, the digest that they are what was offered.

One file a vector in the session's own spool folder, which is removed when the session ends. Nothing longer
than a span (65,536 coordinates) is ever in memory, so a vector of ten million values costs a node no more
than a short one. A piece that does not match its digest, was not asked for, or comes from somebody else
than whom it was asked of, is refused.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt

from mesh.runtime.vectors.running import RunningSum, SpanSum
from protocols.errors import LocalMisuse, MalformedMessage, MeshError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.masking import one_shot
from protocols.masking.fingerprint import Fingerprint
from protocols.masking.layout import Layout
from protocols.wire.bounds import AtMost
from protocols.wire.digest import bulk_digest, digest

MAX_PIECES = 8192
MAX_PIECE_BYTES = 1 << 20
PIECE_MARK = b"coppice/piece/1\n"
_HEADER_BYTES = len(PIECE_MARK) + 32 + 32 + 8
_PIECE = "vector piece"


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
    """One packed span. Travels as PIECE_MARK, session, name, index (8 bytes, big-endian), data: words in
    the data lie at multiples of 8."""

    name: Digest
    index: int
    data: bytes | memoryview

    def frame(self, session: SessionId) -> bytes:
        """What goes over the link."""
        return b"".join((PIECE_MARK, session, self.name, self.index.to_bytes(8, "big"), self.data))


def is_piece(frame: bytes) -> bool:
    """Whether a frame is a piece; an envelope begins with the head of a CBOR array."""
    return frame.startswith(PIECE_MARK)


def open_piece(frame: bytes) -> tuple[SessionId, VectorPiece]:
    """Session and piece of a frame; the data is not copied. Raises MalformedMessage."""
    if not _HEADER_BYTES <= len(frame) <= _HEADER_BYTES + MAX_PIECE_BYTES:
        raise MalformedMessage(f"a piece of a vector in a frame of {len(frame)} bytes")
    at = len(PIECE_MARK)
    session, name = SessionId(frame[at : at + 32]), Digest(frame[at + 32 : at + 64])
    index = int.from_bytes(frame[at + 64 : _HEADER_BYTES], "big")
    return session, VectorPiece(name, index, memoryview(frame)[_HEADER_BYTES:])


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
        self._summed: frozenset[PartyId] = frozenset()
        self._running: RunningSum | None = None
        self._starts = np.cumsum([0] + [layout.span_bytes(i) for i in range(layout.spans)]).tolist()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __contains__(self, name: object) -> bool:
        return name in self._held

    @property
    def names(self) -> tuple[Digest, ...]:
        """The vectors that are here whole."""
        return tuple(self._held)

    def reopen(self) -> None:
        """Take up the whole vectors that a former life of this node left; what was under way goes."""
        for path in sorted(self._folder.iterdir()):
            digests = []
            with path.open("rb") as file:
                for index in range(self.layout.spans):
                    digests.append(bulk_digest(_PIECE, file.read(self.layout.span_bytes(index))))
            name = self._name(digests)
            if path.name == name.hex():
                self._held[name] = tuple(digests)
            else:
                path.unlink()

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
                    digests.append(bulk_digest(_PIECE, piece.data))
                    file.write(piece.data)
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
        if bulk_digest(_PIECE, piece.data) != incoming.pieces[piece.index]:
            raise MalformedMessage("a piece of a vector differs from its digest", blame=sender)
        try:
            _write_at(self._path(piece.name), piece.data, self._starts[piece.index])
        except OSError as error:
            raise _full(self._folder, error) from error
        if self._running is not None and sender in self._summed:
            self._running.add(piece.name, piece.index, piece.data)
        incoming.missing.discard(piece.index)
        if incoming.missing:
            return False
        self._held[piece.name] = incoming.pieces
        del self._incoming[piece.name]
        return True

    # -- arithmetic -----------------------------------------------------------------------------------

    def sum_arrivals(self, senders: frozenset[PartyId]) -> None:
        """Add what these send while it arrives: a sum of their vectors will be wanted."""
        self._summed, self._running = senders, RunningSum(self.layout.spans, self._span_sum)

    def begun(self) -> RunningSum | None:
        """The sum of what arrived, given away: nothing is added to it any more."""
        given, self._running = self._running, None
        return given

    def _span_sum(self, index: int) -> SpanSum:
        return one_shot.span_sum(self.layout, index)

    def totals(
        self, parts: tuple[Digest, ...], begun: RunningSum | None = None
    ) -> Iterator[npt.NDArray[np.uint64]]:
        """Running sums of the stored vectors, span by span; `begun`: of some of them, perhaps."""
        done = begun.within(parts) if begun is not None else None
        left = list(parts)
        for name in done or ():
            left.remove(name)  # once: a roster that names a vector twice counts it twice
        files = [self._path(name).open("rb", buffering=0) for name in left]
        buffer = np.empty(self.layout.span_bytes(0), dtype=np.uint8)
        try:
            for index in range(self.layout.spans):
                total = begun.span(index) if begun is not None and done else self._span_sum(index)
                packed = buffer[: self.layout.span_bytes(index)]
                for file in files:
                    if file.readinto(packed.data) != packed.size:
                        raise LocalMisuse("a stored vector is shorter than it was")
                    total.add(packed)
                yield total.words()
        finally:
            for file in files:
                file.close()

    def add(self, parts: tuple[Digest, ...], begun: RunningSum | None = None) -> Digest:
        """Store the sum of stored vectors; its name. `begun`: what `begun` gave, if anything."""
        return self.keep(one_shot.pack_total(self.layout, total) for total in self.totals(parts, begun))

    def fingerprint(self, challenge: Digest, name: Digest) -> bytes:
        """What an audit asks of a stored vector. Raises LocalMisuse if it is not here."""
        if name not in self._held:
            raise LocalMisuse("a vector is to be fingerprinted that is not stored")
        found = Fingerprint(challenge)
        for index, words in enumerate(self.totals((name,))):
            found.add(index, words)
        return found.value().astype("<u8").tobytes()

    def _name(self, pieces: Iterable[Digest]) -> Digest:
        return digest("vector", self._session, b"".join(pieces))

    def _path(self, name: Digest) -> Path:
        return self._folder / name.hex()


def _write_at(path: Path, data: bytes | memoryview, offset: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        view = memoryview(data)
        while view:
            written = os.pwrite(file, view, offset)
            view, offset = view[written:], offset + written
    finally:
        os.close(file)


def _bits(pieces: Iterable[int], spans: int) -> bytes:
    return sum(1 << index for index in pieces).to_bytes(-(-spans // 8), "little")


def _full(folder: Path, error: OSError) -> SpoolFull:
    return SpoolFull(
        f"the spool {folder} cannot be written: {error.strerror}",
        fix="free some space: a long vector needs its packed size for each device of the cluster",
    )
