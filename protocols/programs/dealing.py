"""Inputs as residue shares, and contributions to the keys of the sets: sealed, provable, repeatable.

Inputs. An owner's values, residues (2, L) mod p and q, and two uniform masks are the values at 0 of
random polynomials of degree t, in both residues. Seat j gets the values at j, cut into pieces and sealed to
it; the public half lists the digests of all sealings, and for two challenges rho hashed from them the
coefficients of g_r = sum_k rho_r^{k+1} f_k + f_{L+r}, mod p and mod q. Soundness and privacy are those
of `sharing.consistency`, in each residue: (L/p)^2 a try, and g_r is uniform. A member whose share fails, or
whose sealing does not open, shows so to everybody by disclosing that sealing (`wire.sealing`).

Keys. Member i draws a contribution k_iA for every set A of n-t points that it is in, commits to each by its
hash, and seals to member j those of the sets with both in it. The key of A is a hash of the
contributions that the start certificate counts, all made by members of A. Privacy: let A* be a set
without corrupted members. Only members of A* contribute to its key and only they are sent those
contributions, so to the t corrupted ones the key is that of a random function; any other set has a
corrupted member, who may know its key. (Commitments are hashes of 32 uniform bytes and tell nothing.)
Agreement: a member votes for a start only if it opened every counted contribution to the value that the one
counted public half commits to, so members who voted hold equal keys, whatever a dealer does.

Everything is a function of (seed, session, generation): a dealer that restarts with its seed repeats itself.

Symbols: n seats, t degree, L elements, A sets, i, j points, rho challenges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from protocols.arithmetic import rns
from protocols.arithmetic.rns import Residues
from protocols.arithmetic.xof import Xof, derive
from protocols.errors import LocalMisuse, MalformedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.programs.messages import (
    MAX_PIECES,
    NOTHING,
    PIECE_BYTES,
    InputDealing,
    InputPart,
    KeyDealing,
    KeyPart,
)
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Seat
from protocols.sharing.prss import SetKeys, elements, key_sets
from protocols.wire import sealing
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

INPUT, KEYS = "program input", "program keys"
REPETITIONS = 2
KEY_BYTES = 32


def pieces_of(data: bytes) -> list[bytes]:
    """Cuts of PIECE_BYTES, at least one. Raises LocalMisuse beyond MAX_PIECES."""
    cut = [data[at : at + PIECE_BYTES] for at in range(0, max(1, len(data)), PIECE_BYTES)]
    if len(cut) > MAX_PIECES:
        raise LocalMisuse(
            f"{len(data):,} bytes of shares for one member, {MAX_PIECES * PIECE_BYTES:,} can be dealt",
            fix="contribute fewer values",
        )
    return cut


def seal_context(purpose: str, session: SessionId, generation: int, maker: PartyId, piece: int) -> bytes:
    """Binds a sealing to its purpose, session, generation, maker and piece."""
    place = bytes([generation]) + piece.to_bytes(2, "big")
    return purpose.encode() + b"/" + bytes(session) + place + bytes(maker)


# -- inputs -----------------------------------------------------------------------------------------


def deal_input(
    keys: PartyKeys,
    session: SessionId,
    seats: Sequence[Seat],
    t: int,
    values: Residues,
    rows: int,
    seed: bytes,
) -> tuple[InputDealing, tuple[tuple[bytes, ...], ...]]:
    """The public half, and the sealed pieces by seat, of `values` (2, L)."""
    xof = Xof(seed, "coppice/programs/input/1", bytes(session))
    secrets = np.concatenate([values, elements(xof, REPETITIONS)], axis=1)
    rows_of = [secrets, *(elements(xof, secrets.shape[1]) for _ in range(t))]
    sealed: list[tuple[bytes, ...]] = []
    for at, seat in enumerate(seats):
        share = rows_of[-1]
        for lower in rows_of[-2::-1]:
            share = rns.add(rns.scale(share, at + 1), lower)
        sealed.append(
            tuple(
                sealing.seal(
                    seat.sealing_key,
                    piece,
                    seal_context(INPUT, session, 0, keys.party, number),
                    derive(seed, INPUT, bytes(session), bytes([at]), number.to_bytes(2, "big")),
                )
                for number, piece in enumerate(pieces_of(share.astype("<u8").tobytes()))
            )
        )
    names = tuple(
        digest("sealed share", sealed[at][piece])
        for piece in range(len(sealed[0]))
        for at in range(len(seats))
    )
    powers = _powers(_challenge(session, keys.party, rows, names), values.shape[1])
    response = np.stack([_combined(row, powers) for row in rows_of], axis=-1).reshape(-1)
    unsigned = InputDealing(keys.party, rows, names, response, bytes(64))
    signature = sign_statement(keys.signing_seed, INPUT, input_digest(session, unsigned))
    return InputDealing(keys.party, rows, names, response, signature), tuple(sealed)


def input_digest(session: SessionId, dealing: InputDealing) -> Digest:
    """Names a dealing; covers everything but the signature."""
    return digest(
        "program dealing",
        session,
        dealing.dealer,
        dealing.rows.to_bytes(8, "big"),
        b"".join(dealing.sealed),
        dealing.response.astype("<u8").tobytes(),
    )


def check_input(session: SessionId, n: int, t: int, dealing: InputDealing) -> int:
    """How many pieces it has. Raises MalformedMessage unless it is well formed and signed by its dealer."""
    pieces, odd = divmod(len(dealing.sealed), n)
    if odd or not pieces:
        raise MalformedMessage("an input dealing has not the same pieces for each seat")
    if dealing.response.shape != (2 * REPETITIONS * (t + 1),):
        raise MalformedMessage("an input dealing's response has the wrong size")
    response = dealing.response.reshape(2, -1)
    if (response >= np.array(rns.MODULI, dtype=np.uint64)[:, None]).any():
        raise MalformedMessage("an input dealing's response is not canonical")
    if not check_statement(dealing.dealer, INPUT, input_digest(session, dealing), dealing.signature):
        raise MalformedMessage("an input dealing is not signed by its dealer")
    return pieces


def open_input(keys: PartyKeys, session: SessionId, n: int, seat: int, part: InputPart) -> bytes:
    """One piece in clear. Raises MalformedMessage if it is not the one listed, SealBroken if it is shut."""
    if digest("sealed share", part.sealed) != part.dealing.sealed[part.piece * n + seat]:
        raise MalformedMessage("a sealed piece differs from the one its dealing lists")
    context = seal_context(INPUT, session, 0, part.dealing.dealer, part.piece)
    return sealing.unseal(keys.sealing_secret, part.sealed, context)


def judged(session: SessionId, t: int, seat: int, dealing: InputDealing, data: bytes) -> Residues | None:
    """The share (2, L) without the masks, or None if it is malformed or not on the committed polynomials."""
    if len(data) % 16 or len(data) < 16 * REPETITIONS:  # an owner may have no value
        return None
    share = np.frombuffer(data, dtype="<u8").astype(np.uint64).reshape(2, -1)
    if (share >= np.array(rns.MODULI, dtype=np.uint64)[:, None]).any():
        return None
    length = share.shape[1] - REPETITIONS
    rho = _challenge(session, dealing.dealer, dealing.rows, dealing.sealed)
    claimed = np.zeros((2, REPETITIONS), dtype=np.uint64)
    response = dealing.response.reshape(2, REPETITIONS, t + 1)
    for degree in range(t, -1, -1):
        claimed = rns.add(rns.scale(claimed, seat + 1), np.ascontiguousarray(response[:, :, degree]))
    if not np.array_equal(claimed, _combined(share, _powers(rho, length))):
        return None
    return np.ascontiguousarray(share[:, :length])


def _challenge(session: SessionId, dealer: PartyId, rows: int, sealed: tuple[Digest, ...]) -> Residues:
    """(2, REPETITIONS), a hash of everything that was dealt."""
    binding = digest("program rho", session, dealer, rows.to_bytes(8, "big"), b"".join(sealed))
    return elements(Xof(bytes(binding), "coppice/programs/challenge/1"), REPETITIONS)


def _powers(rho: Residues, length: int) -> list[Residues]:
    """rho^1 .. rho^length of each challenge, (2, length) each, by doubling."""
    out = []
    for r in range(rho.shape[1]):
        base = rho[:, r : r + 1]
        powers, top = base, base
        while powers.shape[1] < length:
            powers = np.concatenate([powers, rns.mul(powers, top)], axis=1)
            top = powers[:, -1:]
        out.append(np.ascontiguousarray(powers[:, :length]))
    return out


def _combined(row: Residues, powers: list[Residues]) -> Residues:
    """sum_{k<L} rho_r^{k+1} x_k + x_{L+r}: (2, L+2) -> (2, 2)."""
    length = row.shape[1] - REPETITIONS
    body = np.ascontiguousarray(row[:, :length])
    sums = [rns.total(rns.mul(power, body), -1) for power in powers]
    return rns.add(np.stack(sums, axis=1), np.ascontiguousarray(row[:, length:]))


# -- keys of the sets -------------------------------------------------------------------------------


def deal_keys(
    keys: PartyKeys, session: SessionId, generation: int, seats: Sequence[Seat], t: int, seed: bytes
) -> tuple[KeyDealing, tuple[bytes, ...]]:
    """The public half and the sealed contributions by seat, of the member with these keys."""
    point = _own_point(seats, keys.party)
    sets = key_sets(len(seats), t)
    seated = b"".join(seat.party for seat in seats)  # told other seats for one generation, other keys
    place = (bytes(session), bytes([generation]), bytes(digest("program seats", seated)))
    held = sets.held(point)
    secret = {a: derive(seed, "coppice/programs/key/1", *place, a.to_bytes(2, "big")) for a in held}
    sealed = []
    for at, seat in enumerate(seats):
        shared = b"".join(secret[a] for a in held if at + 1 in sets.sets[a])
        context = seal_context(KEYS, session, generation, keys.party, 0)
        sealed.append(
            sealing.seal(seat.sealing_key, shared, context, derive(seed, KEYS, *place, bytes([at])))
        )
    names = tuple(digest("sealed share", blob) for blob in sealed)
    commitments = tuple(_commitment(session, generation, a, secret[a]) for a in held)
    unsigned = KeyDealing(keys.party, generation, names, commitments, bytes(64))
    signature = sign_statement(keys.signing_seed, KEYS, key_digest(session, unsigned))
    return KeyDealing(keys.party, generation, names, commitments, signature), tuple(sealed)


def key_digest(session: SessionId, dealing: KeyDealing) -> Digest:
    """Names a key dealing; covers everything but the signature."""
    place = (session, dealing.dealer, bytes([dealing.generation]))
    return digest("program keys", *place, b"".join(dealing.sealed), b"".join(dealing.commitments))


def open_keys(
    keys: PartyKeys, session: SessionId, seats: Sequence[Seat], t: int, part: KeyPart
) -> dict[int, bytes]:
    """Contributions to the sets that the dealer and we are in, checked against the commitments.

    Raises MalformedMessage naming what is wrong.
    """
    dealing = part.dealing
    dealer, mine = _own_point(seats, dealing.dealer), _own_point(seats, keys.party)
    sets = key_sets(len(seats), t)
    held = sets.held(dealer)
    if len(dealing.sealed) != len(seats) or len(dealing.commitments) != len(held):
        raise MalformedMessage("a key dealing has the wrong size")
    if not check_statement(dealing.dealer, KEYS, key_digest(session, dealing), dealing.signature):
        raise MalformedMessage("a key dealing is not signed by its dealer")
    if digest("sealed share", part.sealed) != dealing.sealed[mine - 1]:
        raise MalformedMessage("sealed keys differ from those their dealing lists")
    context = seal_context(KEYS, session, dealing.generation, dealing.dealer, 0)
    data = sealing.unseal(keys.sealing_secret, part.sealed, context)
    common = [a for a in held if mine in sets.sets[a]]
    if len(data) != KEY_BYTES * len(common):
        raise MalformedMessage("sealed keys have the wrong size")
    opened = {a: data[KEY_BYTES * k : KEY_BYTES * (k + 1)] for k, a in enumerate(common)}
    committed = dict(zip(held, dealing.commitments, strict=True))
    for a, key in opened.items():
        if _commitment(session, dealing.generation, a, key) != committed[a]:
            raise MalformedMessage("sealed keys differ from those committed to")
    return opened


def joined_keys(
    n: int, t: int, point: int, counted: Sequence[Digest], contributions: Mapping[int, Mapping[int, bytes]]
) -> SetKeys:
    """Our keys from the counted contributions, by dealer's point and set.

    Raises LocalMisuse when a counted contribution is not here, or a set has none.
    """
    sets = key_sets(n, t)
    found: dict[int, bytes] = {}
    for a in sets.held(point):
        makers = [i for i in sets.sets[a] if counted[i - 1] != NOTHING]
        if not makers or any(a not in contributions.get(i, {}) for i in makers):
            raise LocalMisuse("a counted key contribution is missing here")
        joined = b"".join(contributions[i][a] for i in makers)
        found[a] = derive(joined, "coppice/programs/joint/1", a.to_bytes(2, "big"))
    return SetKeys(sets, point, found)


def _commitment(session: SessionId, generation: int, a: int, key: bytes) -> Digest:
    return digest("program key", session, bytes([generation]), a.to_bytes(2, "big"), key)


def _own_point(seats: Sequence[Seat], party: PartyId) -> int:
    for at, seat in enumerate(seats, start=1):
        if seat.party == party:
            return at
    raise MalformedMessage("a dealer of keys holds no seat")
