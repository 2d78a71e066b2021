"""Opening a bilinear form of shared bits: summands in mode P, vouched pieces in mode A.

A form w of shared bits is an xor over pairs (A, B) of held sets of products x_A y_B, plus terms of single
sets. Who answers for a pair must be in A, in B and in the quorum.

Mode P. One member answers for each pair of rows (`bitshares.own_duty`). It sends its summand plus an
additive zero.

Mode A, m >= 3t+1 members. Groups are all (m-2t)-subsets of the quorum: at least t+1 members, one of them
honest. A, B and the quorum share m-2t members and more, so each pair is given to one group inside; the piece
of group D is the xor of its pairs' products, and all of D can compute it. One member of D sends the piece,
each other member of D a digest of the pieces that it knows and does not send.
  Soundness. A piece that is not the right one contradicts the digest of an honest member of its group,
  unless the liar found a second preimage (2^-128). Two members can be told different pieces no more than
  one can be told a wrong one.
  Privacy. Set A draws a mask U_{A,D} for every D inside A, xor-ed into the piece of D. Pieces of groups
  with a corrupted member are known to that member anyway. All groups of honest members lie in A*, whose
  draws the corrupted members miss: those pieces are uniform, but for their xor where the draws of a set
  add up to zero (`fresh=False`). With `fresh`, R_A = xor_D U_{A,D} masks the form itself, and the opened
  value with R is a fresh sharing of it, as in mode P.

Symbols: A, B sets; D group; U, R masks; m members of the quorum.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from protocols.engine import bitshares
from protocols.engine.checked import Deviation
from protocols.engine.committee import Committee, Duty, Seat
from protocols.engine.program import Words
from protocols.errors import LocalMisuse

MOST_GROUPS = 64
"""Pieces of one gate in mode A; beyond, their bits cost more than they are worth."""

_DIGEST_WORDS = 2


def check_size(committee: Committee) -> None:
    """Raise LocalMisuse for a committee too large to compute with shared bits."""
    groups, name = math.comb(len(committee.quorum), 2 * committee.t), f"({committee.n}, {committee.t})"
    if committee.n > bitshares.WIDEST_COMMITTEE:
        raise LocalMisuse(
            f"comparisons among {committee.n} members would need a larger field",
            fix=f"take at most {bitshares.WIDEST_COMMITTEE} members",
        )
    if committee.checked and groups > MOST_GROUPS:
        raise LocalMisuse(
            f"a checked comparison in {name} opens every bit in {groups} pieces; {MOST_GROUPS} are the most",
            fix="take mode P, or a committee of at most (7, 2)",
        )


def _members(committee: Committee, *indices: int) -> list[int]:
    """Of the quorum, in all these sets."""
    sets = committee.sets.sets
    return [point for point in committee.quorum if all(point in sets[index] for index in indices)]


@cache
def groups(committee: Committee) -> tuple[tuple[int, ...], ...]:
    """Mode A: the groups that vouch for pieces, in order."""
    return tuple(itertools.combinations(committee.quorum, len(committee.quorum) - 2 * committee.t))


def _group(committee: Committee, *indices: int) -> tuple[int, ...]:
    """The group inside these sets that answers; spread over the groups."""
    present = _members(committee, *indices)
    size = len(committee.quorum) - 2 * committee.t
    start = sum(indices) % len(present)
    return tuple(sorted((present[start:] + present[:start])[:size]))


def _speaker(group: tuple[int, ...], index: int) -> int:
    return group[index % len(group)]


@cache
def duties(committee: Committee, point: int) -> tuple[tuple[int, Duty], ...]:
    """Mode A: (index, duty) of each group that this point is in."""
    held = committee.sets.held(point)
    pairs: dict[tuple[int, ...], dict[int, list[int]]] = {}
    rows: dict[tuple[int, ...], list[int]] = {}
    for row, a in enumerate(held):
        rows.setdefault(_group(committee, a), []).append(row)
        for other, b in enumerate(held):
            pairs.setdefault(_group(committee, a, b), {}).setdefault(row, []).append(other)
    out = []
    for index, group in enumerate(groups(committee)):
        if point in group:
            table = tuple((row, tuple(others)) for row, others in pairs.get(group, {}).items())
            out.append((index, Duty(table, tuple(rows.get(group, ())))))
    return tuple(out)


@cache
def spoken(committee: Committee, point: int) -> tuple[int, ...]:
    """Groups whose piece this point sends."""
    return tuple(i for i, group in enumerate(groups(committee)) if _speaker(group, i) == point)


@cache
def vouched(committee: Committee, point: int) -> tuple[int, ...]:
    """Groups that this point is in and whose piece another sends."""
    return tuple(i for i, g in enumerate(groups(committee)) if point in g and _speaker(g, i) != point)


@cache
def _inside(committee: Committee, index: int) -> tuple[int, ...]:
    """Groups inside a key set."""
    members = committee.sets.sets[index]
    return tuple(i for i, group in enumerate(groups(committee)) if set(group) <= set(members))


def words(committee: Committee, point: int, size: int) -> int:
    """Words that `point` sends to open a form of `size` words."""
    if point not in committee.quorum:
        return 0
    if not committee.checked:
        return size
    return size * len(spoken(committee, point)) + _DIGEST_WORDS * bool(vouched(committee, point))


def publish(
    seat: Seat, step: int, size: int, form: Callable[[Seat], Words], *, fresh: bool
) -> tuple[Words, Words | None]:
    """(payload, masks R (rows, size) if `fresh`) for opening form + R; `form` gets answering seats."""
    if seat.committee.checked:
        return _publish_pieces(seat, step, size, form, fresh)
    masks = None
    if fresh:
        masks = bitshares.drawn(seat, (size,), step, "gate", seat.keys.held)
    if seat.point not in seat.committee.quorum:
        return np.zeros(0, dtype=np.uint64), masks
    duty = bitshares.own_duty(seat.committee, seat.point)
    payload = form(seat.answering(duty)).ravel() ^ seat.zeros(step, seat.committee.quorum).words(size)
    if masks is not None and duty.rows:
        payload ^= np.bitwise_xor.reduce(masks[list(duty.rows)], axis=0)
    return payload, masks


def _publish_pieces(
    seat: Seat, step: int, size: int, form: Callable[[Seat], Words], fresh: bool
) -> tuple[Words, Words | None]:
    committee = seat.committee
    masks = np.zeros((len(seat.keys.held), size), dtype=np.uint64)
    hidden: dict[int, Words] = {}
    for row, index in enumerate(seat.keys.held):
        inside = _inside(committee, index)
        stream = seat.set_stream(index, step, "pieces")
        for place, group in enumerate(inside):
            last = place == len(inside) - 1 and not fresh
            drawn = masks[row].copy() if last else np.frombuffer(stream.read(8 * size), dtype="<u8")
            masks[row] ^= drawn
            if seat.point in groups(committee)[group]:
                hidden[group] = hidden[group] ^ drawn if group in hidden else drawn.copy()
    if seat.point not in committee.quorum:
        return np.zeros(0, dtype=np.uint64), masks if fresh else None
    pieces = {
        index: form(seat.answering(duty)).ravel() ^ hidden[index]
        for index, duty in duties(committee, seat.point)
    }
    said = [pieces[index] for index in spoken(committee, seat.point)]
    digest = _digest(pieces, vouched(committee, seat.point))
    return np.concatenate([*said, digest]), masks if fresh else None


def _digest(pieces: Mapping[int, Words], indices: tuple[int, ...]) -> Words:
    """Two words of BLAKE2b over some pieces; none for no pieces."""
    state = hashlib.blake2b(b"coppice/engine/pieces/1", digest_size=8 * _DIGEST_WORDS)
    for index in indices:
        state.update(np.ascontiguousarray(pieces[index], dtype="<u8").data)
    return np.frombuffer(state.digest() if indices else b"", dtype="<u8").astype(np.uint64)


def collect(seat: Seat, size: int, payloads: Mapping[int, Words]) -> Words:
    """The opened form (size,). Raises Deviation when a piece contradicts a digest."""
    committee = seat.committee
    if not committee.checked:
        return np.asarray(np.bitwise_xor.reduce(np.stack(list(payloads.values())), axis=0))
    if sorted(payloads) != list(committee.quorum):
        raise Deviation("a piece is missing")
    pieces: dict[int, Words] = {}
    for point, payload in payloads.items():
        for place, index in enumerate(spoken(committee, point)):
            pieces[index] = payload[place * size : (place + 1) * size]
    for point, payload in payloads.items():
        claimed = payload[size * len(spoken(committee, point)) :]
        if not np.array_equal(_digest(pieces, vouched(committee, point)), claimed):
            raise Deviation(f"point {point} vouches for other bits than were sent")
    return np.asarray(np.bitwise_xor.reduce(np.stack(list(pieces.values())), axis=0))
