"""Dealing a vector to a committee so that a bad dealer is caught by whoever got a bad share.

    1. f_1 … f_W: random polynomials of degree t; f_k(0) = x_k; the last two x are random masks.
    2. Seat j gets (f_1(j), …, f_W(j)), sealed to it; the dealing lists the digests of all sealed shares.
    3. rho = H(session, stage, dealer, source, digests): the challenge, fixed by the shares themselves.
    4. The dealing publishes the t+1 coefficients of g_r = sum_k rho_r^k f_k + f_{mask r}, r = 1, 2.
    5. Seat j accepts iff its share is consistent with g_r(j) for both r.

Privacy: g_r is masked by a random polynomial of degree t, hence uniform: it says nothing about x.
Soundness: shares that do not lie on polynomials of degree t pass with probability (W/p)^2 a try, about
2^-96 for W = 2^13; a dealer may try many dealings offline, so this is computational (Fiat-Shamir).
Sealing is deterministic to open, so the digests of the sealings fix the shares.

Long shares of the first t seats are not sent but drawn: seat j gets a seed of 32 bytes, and its share is what
the seed expands to. With the secrets, these t shares fix the polynomials, and the dealer computes the other
n - t. Privacy is that of step 1 as far as the expansion is random: random coefficients make any t shares
uniform and independent of x, and polynomials through x and t uniform shares have uniform coefficients; who
does not hold a seed cannot tell its expansion from uniform. Steps 2 to 5 are the same: the digest fixes the
seed, the seed the share, and the share is judged as any other.

A seat whose sealing does not open, or whose share fails step 5, proves it by disclosing that one sealing
(see `wire.sealing`): `uphold` lets anybody tell a guilty dealer from a lying complainer, with no doubt left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof, derive
from protocols.errors import LocalMisuse, MalformedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions.assembly import Assembly
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import NO_SOURCE, NO_VECTOR, Certificate, Complaint, Deal, Dealing, Part
from protocols.sharing import consistency, shamir
from protocols.wire import sealing
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

_LABEL = "dealing"
_MASK_ROWS = consistency.REPETITIONS
_SEED_BYTES = 32
SEEDED_WIDTH = 256
"""From this many elements on, t shares are sent as seeds: below, 2 kB a seat are not worth a second form."""


def random_masks(seed: bytes, assembly: Assembly) -> Elements:
    """Uniform mask elements, shape (2 * plan.hops,), that a device appends to its payload."""
    return Xof(seed, "resharing masks", assembly.session).elements(2 * assembly.plan.hops)


def deal(
    keys: PartyKeys,
    assembly: Assembly,
    vector: Elements,
    seed: bytes,
    source: Digest,
    certificate: Certificate | None = None,
    masked: Digest = NO_VECTOR,
) -> Deal:
    """Share `vector` (shape (dealt_width - 2,)) among the seats; `masked` names the vector it unmasks.

    The same seed gives the same dealing, bit by bit, so a dealer that sends again contradicts nothing.
    Raises LocalMisuse for a vector of another width.
    """
    if vector.shape != (assembly.dealt_width - _MASK_ROWS,):
        raise LocalMisuse(f"vector of {vector.shape} dealt where {assembly.dealt_width - _MASK_ROWS} are due")
    context = (assembly.session, bytes([assembly.generation]), assembly.stage.to_bytes(4, "big"), source)
    xof = Xof(seed, "dealing", *context)
    secrets = np.concatenate([vector, xof.elements(_MASK_ROWS)])
    drawn = _share_seeds(assembly, seed, context)
    polynomials, plaintexts = _share(assembly, secrets, drawn, xof)
    bound = _seal_context(assembly, keys.party, source)
    sealed = tuple(
        sealing.seal(seat.sealing_key, text, bound, derive(seed, "sealing", *context, bytes([index])))
        for index, (seat, text) in enumerate(zip(assembly.seats, plaintexts, strict=True))
    )
    digests = tuple(digest("sealed share", blob) for blob in sealed)
    rho = _challenge(assembly, keys.party, source, digests)
    response = _respond(polynomials, rho, by_values=bool(drawn)).reshape(-1)
    place = (keys.party, assembly.stage, assembly.generation, source, masked)
    unsigned = Dealing(*place, digests, response, bytes(64))
    signature = sign_statement(keys.signing_seed, _LABEL, dealing_digest(assembly, unsigned))
    return Deal(Dealing(*place, digests, response, signature), sealed, certificate)


def _share_seeds(assembly: Assembly, seed: bytes, context: tuple[bytes, ...]) -> list[bytes]:
    """A seed for each of the first t seats, or none where shares are short."""
    if not _is_seeded(assembly):
        return []
    return [derive(seed, "share seed", *context, bytes([seat])) for seat in range(assembly.threshold)]


def _share(
    assembly: Assembly, secrets: Elements, drawn: list[bytes], xof: Xof
) -> tuple[Elements, list[bytes]]:
    """Polynomials, by coefficients or (`drawn`) by values at points 0..t, and what each seat is sent."""
    size, width = len(assembly.seats), assembly.dealt_width
    if not drawn:
        polynomials = shamir.polynomials(secrets, assembly.threshold, xof)
        shares = shamir.shares(polynomials, size)
    else:
        polynomials = np.stack([secrets, *(_expand(share_seed, width) for share_seed in drawn)])
        shares = shamir.shares_through(polynomials, size)
    whole = shares[len(drawn) :]
    return polynomials, [*drawn, *(share.astype("<u8").tobytes() for share in whole)]


def _respond(polynomials: Elements, rho: Elements, by_values: bool) -> Elements:
    """g_r, coefficients lowest first: (2, t+1)."""
    if not by_values:
        return consistency.respond(polynomials, rho)
    values = consistency.masked_combination(polynomials, rho)  # (t+1, 2)
    points = range(values.shape[0])
    return np.stack([polynomial.interpolate(points, column) for column in values.T])


def _is_seeded(assembly: Assembly) -> bool:
    return assembly.dealt_width >= SEEDED_WIDTH


def _expand(share_seed: bytes, width: int) -> Elements:
    """(width,) uniform elements: the share that a seed of 32 bytes stands for."""
    return Xof(share_seed, "dealt share").elements(width)


def dealing_digest(assembly: Assembly, dealing: Dealing) -> Digest:
    """Names a dealing in rosters; covers everything but the signature."""
    known = dealing.names.get(assembly.session)
    if known is None:
        known = dealing.names[assembly.session] = _name(assembly, dealing)
    return known


def _name(assembly: Assembly, dealing: Dealing) -> Digest:
    return digest(
        "dealing",
        assembly.session,
        dealing.dealer,
        dealing.stage.to_bytes(4, "big"),
        bytes([dealing.generation]),
        dealing.source,
        dealing.vector,
        b"".join(dealing.sealed),
        dealing.response.astype("<u8").tobytes(),
    )


def check_dealing(assembly: Assembly, dealing: Dealing) -> None:
    """Raise MalformedMessage unless the public half is well formed and signed by its dealer."""
    if (dealing.stage, dealing.generation) != (assembly.stage, assembly.generation):
        raise MalformedMessage("dealing is for another stage or generation")
    if len(dealing.sealed) != len(assembly.seats):
        raise MalformedMessage("dealing has not one share for each seat")
    if dealing.response.size != _MASK_ROWS * (assembly.threshold + 1):
        raise MalformedMessage("consistency response has the wrong size")
    if dealing.dealer not in assembly.expected:
        raise MalformedMessage(f"{dealing.dealer.short()} may not deal to this stage")
    wants_vector = assembly.plan.bulk is not None and dealing.source == NO_SOURCE
    if wants_vector != (dealing.vector != NO_VECTOR):
        raise MalformedMessage(
            "a masked vector belongs to each device's dealing in a bulk session, and to no other"
        )
    _check_signed(assembly, dealing)


def check_sealed(message: Deal) -> None:
    """Raise MalformedMessage unless the sealed shares are those that the dealing lists."""
    listed = message.dealing.sealed
    if tuple(digest("sealed share", blob) for blob in message.sealed) != listed:
        raise MalformedMessage("sealed shares differ from their digests", blame=message.dealing.dealer)


def check_vector(cluster: Assembly, dealing: Dealing) -> None:
    """Raise MalformedMessage unless a device of the cluster signed, to whichever generation of it, that its
    key unmasks the vector that is named there.
    """
    if dealing.stage != cluster.stage or dealing.dealer not in cluster.blueprint.dealers:
        raise MalformedMessage("a vector of another stage's device")
    if dealing.source != NO_SOURCE or dealing.vector == NO_VECTOR:
        raise MalformedMessage("a dealing that names no vector of a device")
    _check_signed(cluster, dealing)


def _check_signed(assembly: Assembly, dealing: Dealing) -> None:
    if not check_statement(dealing.dealer, _LABEL, dealing_digest(assembly, dealing), dealing.signature):
        raise MalformedMessage("dealing is not signed by its dealer")


def accept(keys: PartyKeys, assembly: Assembly, part: Part) -> Elements | Complaint:
    """Unseal and check our share: the share without the proof's rows, or the proof that it is bad.

    `check_dealing` must have passed. Raises MalformedMessage if `part` is not what the dealing lists,
    which is the relay's doing and proves nothing about the dealer.
    """
    share = _unsealed(keys, assembly, part)
    if share is not None and _holds(assembly, part.dealing, _own_seat(assembly, keys.party), share):
        return share[:-_MASK_ROWS]
    return _complain(keys, assembly, part)


def accept_each(keys: PartyKeys, assembly: Assembly, parts: Sequence[Part]) -> list[Elements | Complaint]:
    """`accept` for several parts of one assembly, their proofs checked side by side. Raises as `accept`."""
    if len(parts) == 1:
        return [accept(keys, assembly, parts[0])]
    shares = [_unsealed(keys, assembly, part) for part in parts]
    opened = [i for i, share in enumerate(shares) if share is not None]
    good: set[int] = set()
    if opened:
        form = (_MASK_ROWS, assembly.threshold + 1)
        held = consistency.holds_each(
            np.stack([share for share in shares if share is not None]),
            _own_seat(assembly, keys.party) + 1,
            np.stack([_rho(assembly, parts[i].dealing) for i in opened]),
            np.stack([parts[i].dealing.response.reshape(form) for i in opened]),
        )
        good = {i for i, holds in zip(opened, held, strict=True) if holds}
    return [
        share[:-_MASK_ROWS] if share is not None and i in good else _complain(keys, assembly, parts[i])
        for i, share in enumerate(shares)
    ]


def _unsealed(keys: PartyKeys, assembly: Assembly, part: Part) -> Elements | None:
    """Our share with the proof's rows, not checked yet; None if its dealer sealed nonsense."""
    seat = _own_seat(assembly, keys.party)
    if digest("sealed share", part.sealed) != part.dealing.sealed[seat]:
        raise MalformedMessage("sealed share differs from the one its dealing lists")
    context = _seal_context(assembly, part.dealing.dealer, part.dealing.source)
    try:
        return _parse(assembly, seat, sealing.unseal(keys.sealing_secret, part.sealed, context))
    except sealing.SealBroken:
        return None


def _complain(keys: PartyKeys, assembly: Assembly, part: Part) -> Complaint:
    context = _seal_context(assembly, part.dealing.dealer, part.dealing.source)
    proof = sealing.disclose(keys.sealing_secret, part.sealed, context)
    seat = _own_seat(assembly, keys.party)
    return Complaint(part.dealing, seat, part.sealed, proof.shared_point, proof.challenge, proof.response)


def uphold(assembly: Assembly, complaint: Complaint) -> bool:
    """True: the dealer is guilty, and this complaint convinces anybody. False: the complainer lies.

    Raises MalformedMessage when the complaint proves nothing at all (not what the dealing lists).
    """
    check_dealing(assembly, complaint.dealing)
    if complaint.seat >= len(assembly.seats):
        raise MalformedMessage("complaint of a seat that does not exist")
    if digest("sealed share", complaint.sealed) != complaint.dealing.sealed[complaint.seat]:
        raise MalformedMessage("complaint about a share that was not dealt")
    context = _seal_context(assembly, complaint.dealing.dealer, complaint.dealing.source)
    disclosure = sealing.Disclosure(complaint.shared_point, complaint.challenge, complaint.response)
    recipient = assembly.seats[complaint.seat].sealing_key
    try:
        plaintext = sealing.open_disclosed(recipient, complaint.sealed, context, disclosure)
    except MalformedMessage:
        return False
    share = None if plaintext is None else _parse(assembly, complaint.seat, plaintext)
    return share is None or not _holds(assembly, complaint.dealing, complaint.seat, share)


def _parse(assembly: Assembly, seat: int, plaintext: bytes) -> Elements | None:
    """The share that was sealed to a seat, with the proof's rows, or None if it has not the form of one."""
    width = assembly.dealt_width
    if _is_seeded(assembly) and seat < assembly.threshold:
        return _expand(plaintext, width) if len(plaintext) == _SEED_BYTES else None
    if len(plaintext) != 8 * width:
        return None
    share: Elements = np.frombuffer(plaintext, dtype="<u8").astype(np.uint64)
    return None if bool((share >= field.P).any()) else share


def _holds(assembly: Assembly, dealing: Dealing, seat: int, share: Elements) -> bool:
    """Whether a seat's share is consistent with the dealing's proof."""
    response = dealing.response.reshape(_MASK_ROWS, assembly.threshold + 1)
    return consistency.holds(share, seat + 1, _rho(assembly, dealing), response)


def _rho(assembly: Assembly, dealing: Dealing) -> Elements:
    return _challenge(assembly, dealing.dealer, dealing.source, dealing.sealed)


def _challenge(assembly: Assembly, dealer: PartyId, source: Digest, sealed: tuple[Digest, ...]) -> Elements:
    binding = digest(
        "dealing rho",
        _seal_context(assembly, dealer, source),
        b"".join(sealed),
    )
    return consistency.challenge(binding)


def _seal_context(assembly: Assembly, dealer: PartyId, source: Digest) -> bytes:
    """Binds a sealing to session, stage, generation, dealer and source."""
    place = assembly.stage.to_bytes(4, "big") + bytes([assembly.generation])
    return bytes(assembly.session) + place + bytes(dealer) + bytes(source)


def _own_seat(assembly: Assembly, party: PartyId) -> int:
    seat = assembly.seat_of(party)
    if seat is None:
        raise LocalMisuse("only a member of the committee can accept a share")
    return seat
