"""Sums to which a secret comes as shares of its holders: weighed by the committee, and checked before they
count.

A *code* is a group of dealers, each of which deals its share of one vector: its point's values of polynomials
of degree t whose constant terms are to be added. The committee holds shares of every dealer's vector; from
the certified roster, each member computes by itself, all of it linear,

    total   = the plain dealers' vectors + for each code sum lambda_i s_i over its t+1 lowest points
    checks  = for each code, each further point x and r = 1, 2:  sum_k rho_r^k (s_x - sum mu_xi s_i)_k

with mu_xi interpolating x from those t+1 points, and rho = H(roster), which was fixed only after every
dealing was. Both are opened together. If all dealt shares of one polynomial, all checks are zero.

Soundness. Let at most t dealers of a code deal other vectors than their shares. The difference is a word of
weight t at most, in at least one column not zero, and no codeword, as these have weight n-t > t (n >= 2t+1).
So the checks of that column are not all zero, and those of the combination are zero with probability (L/p)^2
(as in `consistency`, Fiat-Shamir over the roster). With n >= 3t+1 the checks name the liars: they are the
syndrome of a word of weight at most t, which decoding finds. The requester then asks again without them.

Privacy. Truthful dealers make all checks zero, and what a liar adds it knows; so the checks tell nobody
anything about any share, and a wrong total is the right one plus what the liars added: nothing else was
opened.

Layout. Who deals in several codes deals one block of `width` elements for each, after its plain one if it has
that; other blocks count for nothing. What is opened are the total, the checks, and zeros up to plan.length.

Symbols: n dealers of a code, t its threshold, L = width, lambda Lagrange coefficients at 0, x a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import Elements
from protocols.errors import LocalMisuse, UnattributableFault
from protocols.identifiers import Digest, PartyId
from protocols.sessions.plan import Code, Codes, Plan
from protocols.sharing import consistency, robust
from protocols.wire.digest import digest

_ROWS = consistency.REPETITIONS


def vector(codes: Codes, me: PartyId, own: Elements | None, shares: Mapping[int, Elements]) -> Elements:
    """What `me` deals: its plain vector `own` and its shares by index of the code, each (width,).

    Raises LocalMisuse when these are not the blocks that the codes give it.
    """
    blocks = ([] if own is None else [own]) + [shares[index] for index in sorted(shares)]
    expected = [index for index, code in enumerate(codes.groups) if me in code.dealers]
    if sorted(shares) != expected or (own is not None) != (me in codes.plain):
        raise LocalMisuse("a dealer's blocks are its plain vector and its shares, no more and no less")
    if any(block.shape != (codes.width,) for block in blocks):
        raise LocalMisuse(f"a block has not {codes.width} elements")
    dealt = np.zeros(codes.length, dtype=np.uint64)
    dealt[: codes.width * len(blocks)] = np.concatenate(blocks)
    return dealt


def added(plan: Plan, roster: Digest, dealers: Sequence[PartyId], rows: Elements) -> Elements:
    """A member's share of what is opened, and of the masks after it: from rows (m, W) to (W,)."""
    if plan.codes is None:
        return field.total(rows)
    codes, place = plan.codes, {dealer: index for index, dealer in enumerate(dealers)}
    opened = [rows[place[dealer], : codes.width] for dealer in codes.plain]
    checks: list[Elements] = []
    rho = _challenge(roster)
    for index, code in enumerate(codes.groups):
        shares = np.stack([_block(codes, index, dealer, rows[place[dealer]]) for dealer in code.dealers])
        base = code.threshold + 1
        opened.append(field.combine(polynomial.lagrange(code.points[:base]), shares[:base]))
        checks.append(_checks(code, shares, rho))
    total = field.total(rows)
    total[: plan.length] = 0
    total[: codes.width] = field.total(np.stack(opened))
    said = np.concatenate(checks)
    total[codes.width : codes.width + said.size] = said
    return total


def answer(codes: Codes, opened: Elements) -> Elements:
    """The total, (width,). Raises UnattributableFault when a holder dealt something else than its share."""
    if bool(opened[codes.width : codes.width + codes.checks].any()):
        raise UnattributableFault("a holder of a vault dealt something else than its share")
    return opened[: codes.width]


def liars(codes: Codes, opened: Elements) -> tuple[PartyId, ...]:
    """Who dealt something else than its share, as far as the checks can tell (n >= 3t+1)."""
    found: list[PartyId] = []
    first = codes.width
    for code in codes.groups:
        surplus = len(code.dealers) - code.threshold - 1
        said = opened[first : first + _ROWS * surplus].reshape(surplus, _ROWS)
        first += _ROWS * surplus
        for column in said.T:
            word = np.concatenate([np.zeros(code.threshold + 1, dtype=np.uint64), column])
            try:
                _, wrong = robust.decode(code.points, word, code.threshold)
            except UnattributableFault:
                continue
            found += [code.dealers[index] for index in wrong]
    return tuple(sorted(set(found)))


def _block(codes: Codes, index: int, dealer: PartyId, row: Elements) -> Elements:
    before = sum(dealer in code.dealers for code in codes.groups[:index]) + (dealer in codes.plain)
    return row[before * codes.width : (before + 1) * codes.width]


def _checks(code: Code, shares: Elements, rho: Elements) -> Elements:
    """Parity checks of the dealers' combinations, (surplus * 2,)."""
    masks = np.zeros((len(shares), _ROWS), dtype=np.uint64)
    combined = consistency.masked_combination(np.concatenate([shares, masks], axis=1), rho)
    base = code.threshold + 1
    rows = [
        field.sub(
            combined[at],
            field.combine(polynomial.lagrange(code.points[:base], at=code.points[at]), combined[:base]),
        )
        for at in range(base, len(code.points))
    ]
    return np.concatenate(rows)


def _challenge(roster: Digest) -> Elements:
    return consistency.challenge(digest("codewords", roster))
