"""Randomness without messages: keys held by every set of n-t parties (pseudorandom secret sharing).

R. Cramer, I. Damgård, Y. Ishai, "Share conversion, pseudorandom secret-sharing and applications to
secure computation", TCC 2005, sections 3 and 4; N. Gilboa, Y. Ishai (zero sharings).

For every set A of n-t parties its members hold one key k_A. Whatever they draw from it, x_A, is known
to all of A and to nobody else, so x = sum_A x_A is a replicated ("CNF") sharing made without a
message. With f_A(X) = prod over a not in A of (1 - X/a), which is 1 at 0, has degree t and vanishes
at the parties outside A, party i converts locally: its Shamir share of x is sum over A with i in A of
f_A(i) x_A. This holds over every modulus whose primes exceed n, so over both residues of `rns`.

Privacy: t corrupted parties miss the key of the set A* of all others; x_{A*} is uniform to them.
Who draws k_A need not be honest: a corrupted member of A knows x_A anyway, and A* has none.

Pairs: parties i and j both hold every key of a set with both in it, and the t corrupted ones, if i
and j are not among them, miss the one of A*. A hash of these keys is therefore a key of the pair.

Invariant: a stream is drawn once for one (session, step, attempt); the caller's context names them.

Symbols: n parties, t threshold, A a set of n-t parties, i, j, a points, f_A, D common denominator.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import rns
from protocols.arithmetic.rns import Residues
from protocols.arithmetic.xof import Xof, derive
from protocols.errors import LocalMisuse

MOST_SETS = 1 << 12
"""Refuses committees whose key sets would cost more than they are worth; (13, 4) has 715."""


@dataclass(frozen=True, slots=True)
class KeySets:
    """All sets of n-t points, in lexicographic order."""

    n: int
    t: int
    sets: tuple[tuple[int, ...], ...]

    def held(self, point: int) -> tuple[int, ...]:
        """Indices of the sets that `point` is in, ascending."""
        return tuple(index for index, members in enumerate(self.sets) if point in members)

    def weight(self, index: int, at: int) -> Fraction:
        """f_A(at) for the set of this index."""
        return _weight(self.n, self.sets[index], at)

    def scaled_weights(self, point: int) -> tuple[int, npt.NDArray[np.int64]]:
        """(D, D f_A(point) of the held sets), one D for all points: small numbers stay small."""
        return _scaled_weights(self.n, self.t, point)

    def own_weights(self, point: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(D_A, D_A f_A(point)) of the held sets, each D_A the least that makes f_A whole at all points.

        sum_A D_A x_A is as uniform as sum_A x_A when the x_A are uniform mod M, and its weights are smaller.
        """
        return _own_weights(self.n, self.t, point)


@cache
def _own_weights(n: int, t: int, point: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sets = key_sets(n, t)
    held = sets.held(point)
    whole = [math.lcm(*(sets.weight(index, at).denominator for at in range(1, n + 1))) for index in held]
    return tuple(whole), tuple(int(sets.weight(i, point) * d) for i, d in zip(held, whole, strict=True))


@cache
def _weight(n: int, members: tuple[int, ...], at: int) -> Fraction:
    absent = set(range(1, n + 1)) - set(members)
    return math.prod((Fraction(a - at, a) for a in absent), start=Fraction(1))


@cache
def _scaled_weights(n: int, t: int, point: int) -> tuple[int, npt.NDArray[np.int64]]:
    sets = key_sets(n, t)
    denominator = math.lcm(*(math.prod(set(range(1, n + 1)) - set(members)) for members in sets.sets))
    weights = [sets.weight(index, point) for index in sets.held(point)]
    scaled = np.array([int(weight * denominator) for weight in weights], dtype=np.int64)
    scaled.setflags(write=False)
    return denominator, scaled


@cache
def key_sets(n: int, t: int) -> KeySets:
    """The key sets of a committee. Raises LocalMisuse unless n >= 2t+1 >= 3 and there are few enough."""
    if t < 1 or n < 2 * t + 1:
        raise LocalMisuse(
            f"a committee of {n} cannot compute with threshold {t}", fix="take n >= 2t+1, t >= 1"
        )
    if math.comb(n, t) > MOST_SETS:
        raise LocalMisuse(f"({n}, {t}) has {math.comb(n, t)} key sets", fix="take a smaller committee")
    return KeySets(n, t, tuple(itertools.combinations(range(1, n + 1), n - t)))


class SetKeys:
    """The keys one party holds; its `repr` shows none of them."""

    __slots__ = ("_keys", "_pairs", "held", "point", "sets")

    def __init__(self, sets: KeySets, point: int, keys: Mapping[int, bytes]) -> None:
        held = sets.held(point)
        if tuple(sorted(keys)) != held:
            raise LocalMisuse(
                f"point {point} of ({sets.n}, {sets.t}) holds {len(held)} keys, not {len(keys)}"
            )
        self.sets = sets
        self.point = point
        self.held = held
        """Indices of the sets whose keys are here."""
        self._keys = dict(keys)
        self._pairs: dict[int, bytes] = {}

    def __repr__(self) -> str:
        return f"SetKeys(n={self.sets.n}, t={self.sets.t}, point={self.point}, …)"

    def stream(self, index: int, label: str, *context: bytes) -> Xof:
        """What the members of set `index` draw together."""
        return Xof(self._keys[index], label, *context)

    def pair_stream(self, other: int, label: str, *context: bytes) -> Xof:
        """What this party and `other` draw together."""
        if other not in self._pairs:
            common = [i for i in self.held if other in self.sets.sets[i]]
            names = f"{min(self.point, other)}/{max(self.point, other)}".encode()
            self._pairs[other] = derive(b"".join(self._keys[i] for i in common), "coppice/prss/pair/1", names)
        return Xof(self._pairs[other], label, *context)

    def exported(self) -> tuple[bytes, ...]:
        """The keys of the held sets in order, to be stored encrypted: whoever reads them is this party."""
        return tuple(self._keys[index] for index in self.held)

    def fingerprint(self, index: int) -> bytes:
        """16 bytes by which the members of a set compare their keys without showing them."""
        return derive(self._keys[index], "coppice/prss/fingerprint/1")[:16]


def deal_keys(n: int, t: int, seed: bytes) -> tuple[SetKeys, ...]:
    """Keys of every party of a committee from one seed: whoever has it knows every secret.

    For tests, simulators and for one dealer's contribution to keys that several dealers add up.
    """
    sets = key_sets(n, t)
    keys = [derive(seed, "coppice/prss/set/1", bytes(members)) for members in sets.sets]
    return tuple(SetKeys(sets, i, {a: keys[a] for a in sets.held(i)}) for i in range(1, n + 1))


def joint_keys(contributions: Sequence[SetKeys]) -> SetKeys:
    """The keys of one party when several dealers contributed: unknown while one of them is honest."""
    first = contributions[0]
    if any(c.point != first.point or c.sets != first.sets for c in contributions):
        raise LocalMisuse("contributions of different seats or committees cannot be joined")
    keys = {
        a: derive(b"".join(c._keys[a] for c in contributions), "coppice/prss/joint/1") for a in first.held
    }
    return SetKeys(first.sets, first.point, keys)


def raw_elements(xof: Xof, count: int) -> Residues:
    """What `elements` draws, not reduced: words below 2^61, (2, count), to be added up before a reduction."""
    words = np.frombuffer(xof.read(16 * count), dtype="<u8").reshape(count, 2).T
    out = np.empty((2, count), dtype=np.uint64)
    np.bitwise_and(words, np.uint64((1 << 61) - 1), out=out)
    return out


def elements(xof: Xof, count: int) -> Residues:
    """`count` pairs of residues, each within 2^-56 of uniform, (2, count)."""
    words = np.frombuffer(xof.read(16 * count), dtype="<u8").reshape(count, 2).T
    moduli = np.array(rns.MODULI, dtype=np.uint64)[:, None]
    out = np.empty((2, count), dtype=np.uint64)
    for start in range(0, count, rns.BLOCK):  # pieces that stay in the cache
        part = slice(start, start + rns.BLOCK)
        drawn = words[:, part] & np.uint64((1 << 61) - 1)
        np.minimum(drawn, drawn - moduli, out=out[:, part])
    return out


def random_shares(keys: SetKeys, count: int, *context: bytes) -> Residues:
    """Degree-t share (2, count) of uniform numbers nobody knows."""
    result = np.zeros((2, count), dtype=np.uint64)
    for index in keys.held:
        drawn = elements(keys.stream(index, "coppice/prss/random/1", *context), count)
        result = rns.add(result, rns.scale(drawn, keys.sets.weight(index, keys.point)))
    return result


def zero_shares(keys: SetKeys, count: int, *context: bytes) -> Residues:
    """Degree-2t share (2, count) of zeros, else uniform: sum_A f_A(i) (i x_A1 + ... + i^t x_At)."""
    result = np.zeros((2, count), dtype=np.uint64)
    for index in keys.held:
        xof = keys.stream(index, "coppice/prss/zero/1", *context)
        for power in range(1, keys.sets.t + 1):
            weight = keys.sets.weight(index, keys.point) * keys.point**power
            result = rns.add(result, rns.scale(elements(xof, count), weight))
    return result
