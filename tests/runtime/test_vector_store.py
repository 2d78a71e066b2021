"""What a party can do to another's masked vector, or to a node's store: nothing but fail with its own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mesh.runtime.vectors.bulk import BulkLane
from mesh.runtime.vectors.store import PIECE_MARK, VectorOffer, VectorPiece, VectorStore, is_piece, open_piece
from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.masking.layout import Layout
from protocols.masking.parameters import TABLE
from protocols.wire import envelope
from protocols.wire.digest import bulk_digest, digest

A, B, C = (PartyId(bytes([i]) * 32) for i in (1, 2, 3))
SESSION = SessionId(bytes([7]) * 32)
LAYOUT = Layout(TABLE[0], 100)


def store(folder, most=4):
    return VectorStore(folder, SESSION, LAYOUT, most)


def made(folder, fill=1):
    """A vector of somebody else: its offer and its one piece."""
    source = store(folder)
    name = source.keep([np.full(LAYOUT.span_bytes(0), fill, dtype=np.uint8)])
    return source.offer(name), source.piece_of(name, 0)


def test_a_piece_of_the_wrong_size_is_refused_and_never_added(tmp_path):
    """The digest is the dealer's own choice, so it says nothing about the size."""
    here = store(tmp_path / "here")
    for size in (0, LAYOUT.span_bytes(0) - 1, LAYOUT.span_bytes(0) + 1):
        data = bytes(size)
        pieces = (bulk_digest("vector piece", data),)
        name = digest("vector", SESSION, b"".join(pieces))
        assert here.expect(A, VectorOffer(name, pieces))
        with pytest.raises(MalformedMessage, match="wrong size"):
            here.take(A, VectorPiece(name, 0, data))
        assert name not in here


def test_whoever_offers_a_vector_of_that_name_cannot_keep_the_owner_from_sending_it(tmp_path):
    offer, piece = made(tmp_path / "there")
    for first, second in ((A, B), (B, A)):
        here = store(tmp_path / first.hex())
        assert here.expect(first, offer)
        assert here.expect(second, offer)
        assert here.expect(second, offer)  # whoever offers again after a broken link is asked for the rest
        with pytest.raises(UnexpectedMessage):
            here.take(C, piece)
        assert here.take(A, piece)
        assert offer.name in here
        assert not here.expect(second, offer)


def test_one_party_cannot_fill_the_store(tmp_path):
    stage = SimpleNamespace(adders=(A, B))
    plan = SimpleNamespace(parties=(A, B, C), stages=(stage,), session=SESSION, epoch=1)
    postman = SimpleNamespace(post=lambda *_, **__: 0)
    lane = BulkLane(plan, store(tmp_path / "here", most=20), postman, lambda _: None)
    offers = [made(tmp_path / str(i), i)[0] for i in range(6)]
    for sender, may in ((C, 1), (A, 3)):
        for offer in offers[:may]:
            lane.receive(sender, offer)
        for offer in offers[may:]:
            with pytest.raises(UnexpectedMessage, match="more vectors"):
                lane.receive(sender, offer)
        lane.receive(sender, offers[0])
    with pytest.raises(UnexpectedMessage):
        lane.receive(PartyId(bytes(32)), offers[0])
    assert isinstance(offers[0].name, Digest)


def test_what_was_added_on_arrival_is_the_sum_whatever_the_roster_names(tmp_path):
    """All that came, fewer, more (our own), when one came in part only, and one that two devices named."""
    layout = Layout(TABLE[0], 3 * 65536)
    rng = np.random.default_rng(1)

    def vector(folder):
        source = VectorStore(folder, SESSION, layout, 4)
        sizes = (layout.span_bytes(i) for i in range(layout.spans))
        name = source.keep([rng.integers(0, 256, size, dtype=np.uint8) for size in sizes])
        return source.offer(name), [source.piece_of(name, i) for i in range(layout.spans)]

    made = [vector(tmp_path / str(i)) for i in range(3)]
    for case, (pieces_of_last, wanted, with_own) in enumerate(
        [
            (2, (0, 1, 2), False),
            (2, (0, 1), False),
            (2, (0, 1, 1, 2), False),
            (1, (0, 1), False),
            (2, (2, 0, 1), True),
            (0, (1, 0), True),
        ]
    ):
        here = VectorStore(tmp_path / f"here{case}", SESSION, layout, 9)
        here.sum_arrivals(frozenset((A, B)))
        for number, (offer, pieces) in enumerate(made):
            here.expect(C if number == 1 and with_own else A, offer)
            for piece in pieces[: pieces_of_last if number == 2 else layout.spans]:
                here.take(
                    C if number == 1 and with_own else A, VectorPiece(piece.name, piece.index, piece.data)
                )
        own = (here.keep([np.full(layout.span_bytes(i), 5, np.uint8) for i in range(layout.spans)]),)
        parts = tuple(made[i][0].name for i in wanted) + own * with_own
        assert here.add(parts, here.begun()) == here.add(parts)
        assert here.begun() is None


def test_a_piece_travels_as_a_bare_frame_and_no_envelope_looks_like_one(tmp_path):
    offer, piece = made(tmp_path / "there")
    frame = piece.frame(SESSION)
    assert is_piece(frame)
    session, arrived = open_piece(frame)
    assert (session, arrived.name, arrived.index) == (SESSION, piece.name, 0)
    here = store(tmp_path / "here")
    here.expect(A, offer)
    for spoiled in (1, 100, len(piece.data)):
        damaged = bytearray(frame)
        damaged[-spoiled] ^= 1
        with pytest.raises(MalformedMessage):
            here.take(A, open_piece(bytes(damaged))[1])
    assert here.take(A, arrived)
    for short in (PIECE_MARK, frame[:87], frame[:88] + bytes((1 << 20) + 1)):
        with pytest.raises(MalformedMessage):
            open_piece(short)
    letter = envelope.sign(
        bytes(32), mesh=Digest(bytes(32)), session=SESSION, epoch=0, stage=-1, kind="x", body=frame
    )
    assert not is_piece(letter)
