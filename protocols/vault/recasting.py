"""From sub-shares of one generation to a share of the next: the algebra of a renewal, without messages.

Dealing j of the roster shared (F(j), its share of a mask pair, fresh masks). The combinations of the first
two are checked as in `protocols.sessions.resharing`; the new share is sum_j lambda_j s_jl over the T+1 lowest
points that told the truth, and the new masks are the sums of all fresh ones, one of which at least is an
honest holder's and uniform. All honest holders compute this from the same roster, hence alike.

Privacy. T corrupted old and T corrupted new holders see at most T sub-shares of each honest F(j), and the
published combinations are masked by a pair that is uniform (a sum over 2T+1 dealers or more, or the owner's)
and used for this roster alone: `decree` decides one roster a round, and combinations are published for a
decided one only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from protocols.arithmetic import field as modular
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import UnattributableFault
from protocols.identifiers import Digest
from protocols.sessions import resharing
from protocols.sharing import consistency, robust
from protocols.vault.terms import MASK_PAIRS, Terms
from protocols.wire.digest import digest

SubShares = Sequence[tuple[int, Elements]]
"""(old seat, our sub-share of its dealing)."""


@dataclass(frozen=True, slots=True)
class Recast:
    """Our share (width,) of the next generation; `published` and `dealt` are the seats that lied."""

    share: Elements = field(repr=False)
    published: tuple[int, ...]
    dealt: tuple[int, ...]


def vector(terms: Terms, share: Elements, round_: int, seed: bytes, subject: Digest) -> Elements:
    """What an old holder deals in a round: payload, that round's pair of its masks, fresh masks."""
    pair = terms.length + consistency.REPETITIONS * round_
    fresh = Xof(seed, "vault fresh masks", subject).elements(2 * MASK_PAIRS)
    return np.concatenate([share[: terms.length], share[pair : pair + consistency.REPETITIONS], fresh])


def combinations(terms: Terms, outcome: Digest, incoming: SubShares) -> Elements:
    """What we publish, two elements for each dealing."""
    return resharing.combinations(outcome, [_source(terms, incoming)])


def recast(
    terms: Terms, outcome: Digest, incoming: SubShares, checks: Mapping[int, Elements], seed: bytes
) -> Recast:
    """Our new share; `checks` maps new seats to what they published.

    Raises UnattributableFault when the redundancy does not suffice to tell lies from truth.
    """
    published = {seat + 1: values for seat, values in checks.items()}
    secret = digest("vault check", seed, outcome)
    verdict = resharing.check(outcome, [_source(terms, incoming)], published, terms.threshold, secret)
    points = sorted(published)
    dealt = tuple(incoming[index][0] for index in verdict.old_liars[0])
    lied = tuple(points[index] - 1 for index in verdict.new_liars)
    return Recast(combined(terms, incoming, dealt), lied, dealt)


def is_legible(terms: Terms, outcome: Digest, checks: Mapping[int, Elements], seed: bytes) -> bool:
    """Whether what new seats published tells what was dealt, the liars among them named.

    If not, more checks will make it so. If so, all honest seats read the same, hence judge the dealings
    alike: `recast` succeeds at all of them or at none.
    """
    points = sorted(checks)
    if len(points) <= 2 * terms.threshold:
        return False
    xof = Xof(digest("vault check", seed, outcome), "vault check legible", outcome)
    try:
        matrix = np.stack([checks[seat] for seat in points])
        _, liars = robust.open_vectors([seat + 1 for seat in points], matrix, terms.threshold, xof)
        resharing.bounded(len(points), terms.threshold, liars)
    except UnattributableFault:
        return False
    return True


def combined(terms: Terms, incoming: SubShares, left_out: Sequence[int]) -> Elements:
    """The new share (width,), the dealings of the seats `left_out` being false.

    Raises UnattributableFault if too few are left.
    """
    liars = [index for index, (seat, _) in enumerate(incoming) if seat in left_out]
    data = resharing.recombine(_source(terms, incoming), liars)
    masks = modular.total(np.stack([share[-2 * MASK_PAIRS :] for _, share in incoming]), axis=0)
    return np.concatenate([data, masks])


def dealt_width(terms: Terms) -> int:
    """Elements of what an old holder deals: see `vector`."""
    return terms.length + consistency.REPETITIONS + 2 * MASK_PAIRS


def _source(terms: Terms, incoming: SubShares) -> resharing.Incoming:
    width = terms.length + consistency.REPETITIONS
    shares = np.stack([share[:width] for _, share in incoming])
    return resharing.Incoming(tuple(seat + 1 for seat, _ in incoming), shares, terms.threshold)
