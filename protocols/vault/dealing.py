"""Dealing a vector to the holders so that a bad dealer is caught, and provably, by whoever got a bad share.

The scheme of `protocols.sessions.dealing` (random linear combination with dealt masks, Fiat-Shamir; sealed
shares that their receiver can disclose) without a session: what binds a dealing to its place is the
`subject`, a digest of vault, generation, round, seats and threshold, which every check covers.

    1. f_1 … f_W random of degree t, f_k(0) = x_k; two uniform masks follow.
    2. Seat j gets (f_1(j), …), sealed to it; the dealing lists the digests of all sealings.
    3. rho = H(subject, dealer, digests); the dealing publishes g_r = sum rho_r^k f_k + f_{mask r}.
    4. Seat j accepts iff its share agrees with g_r(j), r = 1, 2.

A dealing can be good for some seats and bad for one that is away, and be used before that one is back. It
then proves that its share is bad, and the others open theirs to it (`show`): T+1 good shares give what it
should have been dealt (`due`), the same whichever they are, as they lie on one polynomial.

Privacy: g is masked by a uniform polynomial. Shares are opened only of a dealing that was proven bad: an
honest dealer makes none, and what a dishonest one dealt the adversary knows. Soundness: shares on no
polynomial of degree t pass with probability (W/p)^2 a try. The same seed and subject give the same dealing
bit by bit, so a dealer that sends again after a restart contradicts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof, derive
from protocols.errors import LocalMisuse, MalformedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import MAX_LENGTH, Seat
from protocols.sharing import consistency, shamir
from protocols.vault.terms import MASK_PAIRS, MAX_HOLDERS
from protocols.wire import codec, sealing
from protocols.wire.bounds import AtMost, Between, FieldVector, Key, Signature
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

_LABEL = "vault dealing"
_MASKS = consistency.REPETITIONS
MAX_SEALED_BYTES = 8 * (MAX_LENGTH + 2 * MASK_PAIRS + 2 + 2 + 2 * MASK_PAIRS) + 256
SealedShare = Annotated[bytes, AtMost(MAX_SEALED_BYTES)]


@dataclass(frozen=True, slots=True)
class Dealing:
    """The public half, signed: digests of the sealed shares and the coefficients of the two g."""

    dealer: PartyId
    subject: Digest
    sealed: Annotated[tuple[Digest, ...], AtMost(MAX_HOLDERS)]
    response: Annotated[FieldVector, AtMost(12)]
    signature: Signature


@dataclass(frozen=True, slots=True)
class Deal:
    """A dealing with all its sealed shares: whoever holds it can pass each seat its own."""

    dealing: Dealing
    sealed: Annotated[tuple[SealedShare, ...], AtMost(MAX_HOLDERS)]


@dataclass(frozen=True, slots=True)
class Opened:
    """A holder opens one sealing, which was made for it, to everybody."""

    dealing: Dealing
    seat: Annotated[int, Between(0, 15)]
    sealed: SealedShare
    shared_point: Key
    challenge: Annotated[bytes, AtMost(64)]
    response: Annotated[bytes, AtMost(64)]


@dataclass(frozen=True, slots=True)
class BadShare(Opened):
    """A holder's proof that its share is bad."""


@dataclass(frozen=True, slots=True)
class GoodShare(Opened):
    """A holder's good share of a dealing that somebody else proved to be bad: with T+1 of them that one knows
    what it should have been dealt."""


@dataclass(frozen=True, slots=True)
class Target:
    """To whom and at what degree a vector of `width` elements is dealt, and for what (`subject`)."""

    subject: Digest
    seats: tuple[Seat, ...]
    threshold: int
    width: int


def target(label: str, place: bytes, seats: tuple[Seat, ...], threshold: int, width: int) -> Target:
    """A target whose subject covers everything about it; `place` says which vault, generation and round."""
    listed = b"".join(codec.encode(seat) for seat in seats)
    subject = digest(
        "vault target", label.encode(), place, listed, bytes([threshold]), width.to_bytes(4, "big")
    )
    return Target(subject, seats, threshold, width)


def deal(keys: PartyKeys, to: Target, vector: Elements, seed: bytes) -> Deal:
    """Share `vector` (width,) among the seats. Raises LocalMisuse for a vector of another width."""
    if vector.shape != (to.width,):
        raise LocalMisuse(f"a vector of {vector.shape} dealt where {to.width} elements are due")
    xof = Xof(seed, "vault dealing", to.subject, keys.party)
    polynomials = shamir.polynomials(np.concatenate([vector, xof.elements(_MASKS)]), to.threshold, xof)
    shares = shamir.shares(polynomials, len(to.seats))
    sealed = tuple(
        sealing.seal(
            seat.sealing_key,
            share.astype("<u8").tobytes(),
            _context(to.subject, keys.party, index),
            derive(seed, "vault sealing", to.subject, keys.party, bytes([index])),
        )
        for index, (seat, share) in enumerate(zip(to.seats, shares, strict=True))
    )
    return assemble(keys, to, polynomials, sealed)


def assemble(keys: PartyKeys, to: Target, polynomials: Elements, sealed: tuple[bytes, ...]) -> Deal:
    """The signed dealing over sealed shares of `polynomials` (t+1, width + 2)."""
    digests = tuple(digest("vault share", blob) for blob in sealed)
    response = consistency.respond(polynomials, _challenge(to.subject, keys.party, digests)).reshape(-1)
    unsigned = Dealing(keys.party, to.subject, digests, response, bytes(64))
    signature = sign_statement(keys.signing_seed, _LABEL, dealing_digest(unsigned))
    return Deal(Dealing(keys.party, to.subject, digests, response, signature), sealed)


def dealing_digest(dealing: Dealing) -> Digest:
    """Names a dealing; covers everything but the signature."""
    return digest(
        "vault dealing",
        dealing.dealer,
        dealing.subject,
        b"".join(dealing.sealed),
        dealing.response.astype("<u8").tobytes(),
    )


def check_dealing(dealing: Dealing, dealer: PartyId, to: Target) -> None:
    """Raise MalformedMessage unless the public half is `dealer`'s, for this target and well formed."""
    if (dealing.dealer, dealing.subject) != (dealer, to.subject):
        raise MalformedMessage("a dealing of somebody else, or for another vault, generation or committee")
    if len(dealing.sealed) != len(to.seats) or dealing.response.size != _MASKS * (to.threshold + 1):
        raise MalformedMessage("a dealing has not one share a seat, or a response of the wrong size")
    if not check_statement(dealer, _LABEL, dealing_digest(dealing), dealing.signature):
        raise MalformedMessage("a dealing is not signed by its dealer")


def check_deal(deal_: Deal, dealer: PartyId, to: Target) -> None:
    """As `check_dealing`, and that every sealed share is the one listed."""
    check_dealing(deal_.dealing, dealer, to)
    if tuple(digest("vault share", blob) for blob in deal_.sealed) != deal_.dealing.sealed:
        raise MalformedMessage("sealed shares differ from those that the dealing lists", blame=dealer)


def accept(keys: PartyKeys, to: Target, deal_: Deal, seat: int) -> Elements | BadShare:
    """Our share, (width,), or the proof that it is bad. `check_deal` must have passed."""
    return accept_sealed(keys, to, deal_.dealing, deal_.sealed[seat], seat)


def accept_sealed(
    keys: PartyKeys, to: Target, dealing: Dealing, sealed: bytes, seat: int
) -> Elements | BadShare:
    """As `accept`; `sealed` must be the one that the checked dealing lists for the seat."""
    context = _context(to.subject, dealing.dealer, seat)
    try:
        share = _judge(to, dealing, seat, sealing.unseal(keys.sealing_secret, sealed, context))
    except sealing.SealBroken:
        share = None
    if share is not None:
        return share
    proof = sealing.disclose(keys.sealing_secret, sealed, context)
    return BadShare(dealing, seat, sealed, proof.shared_point, proof.challenge, proof.response)


def show(keys: PartyKeys, to: Target, dealing: Dealing, sealed: bytes, seat: int) -> GoodShare:
    """Open our good share. Only of a dealing that a `BadShare` was upheld against."""
    proof = sealing.disclose(keys.sealing_secret, sealed, _context(to.subject, dealing.dealer, seat))
    return GoodShare(dealing, seat, sealed, proof.shared_point, proof.challenge, proof.response)


def look(to: Target, shown: GoodShare) -> Elements:
    """The share (width,) that is shown. Raises MalformedMessage if it is not a good one of a dealing."""
    _check_opened(to, shown)
    plaintext = _plaintext(to, shown)
    share = None if plaintext is None else _judge(to, shown.dealing, shown.seat, plaintext)
    if share is None:
        raise MalformedMessage("a share that is shown for good is none")
    return share


def due(to: Target, shown: Mapping[int, Elements], seat: int) -> Elements | None:
    """What a seat should have been dealt, (width,), from T+1 good shares by seat; None from fewer."""
    seats = sorted(shown)[: to.threshold + 1]
    if len(seats) <= to.threshold:
        return None
    weights = polynomial.lagrange([one + 1 for one in seats], at=seat + 1)
    return field.combine(weights, np.stack([shown[one] for one in seats]))


def uphold(to: Target, complaint: BadShare) -> bool:
    """True: the dealer is guilty, as anybody can see. False: the complainer lies.

    Raises MalformedMessage when the complaint is about something that was never dealt.
    """
    _check_opened(to, complaint)
    try:
        plaintext = _plaintext(to, complaint)
    except MalformedMessage:
        return False
    return plaintext is None or _judge(to, complaint.dealing, complaint.seat, plaintext) is None


def _check_opened(to: Target, opened: Opened) -> None:
    dealing = opened.dealing
    check_dealing(dealing, dealing.dealer, to)
    if not 0 <= opened.seat < len(to.seats):
        raise MalformedMessage("a share is opened for a seat that does not exist")
    if digest("vault share", opened.sealed) != dealing.sealed[opened.seat]:
        raise MalformedMessage("a share is opened that was not dealt")


def _plaintext(to: Target, opened: Opened) -> bytes | None:
    """What a checked sealing holds, None if its maker is at fault. Raises MalformedMessage: it lies."""
    disclosure = sealing.Disclosure(opened.shared_point, opened.challenge, opened.response)
    context = _context(to.subject, opened.dealing.dealer, opened.seat)
    return sealing.open_disclosed(to.seats[opened.seat].sealing_key, opened.sealed, context, disclosure)


def _judge(to: Target, dealing: Dealing, seat: int, plaintext: bytes) -> Elements | None:
    if len(plaintext) != 8 * (to.width + _MASKS):
        return None
    share: Elements = np.frombuffer(plaintext, dtype="<u8").astype(np.uint64)
    if bool((share >= field.P).any()):
        return None
    rho = _challenge(to.subject, dealing.dealer, dealing.sealed)
    response = dealing.response.reshape(_MASKS, to.threshold + 1)
    return share[: to.width] if consistency.holds(share, seat + 1, rho, response) else None


def _challenge(subject: Digest, dealer: PartyId, sealed: tuple[Digest, ...]) -> Elements:
    return consistency.challenge(digest("vault rho", subject, dealer, b"".join(sealed)))


def _context(subject: Digest, dealer: PartyId, seat: int) -> bytes:
    """Binds a sealing to its place, dealer and seat."""
    return bytes(subject) + bytes(dealer) + bytes([seat])
