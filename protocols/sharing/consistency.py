"""Proof by a dealer that what it dealt are values of polynomials of degree t, without interaction.

The dealer shares L secrets and, in the last REPETITIONS columns, as many uniform masks. It commits to
all shares (in the caller's binding: plan, dealer, and the hashes or sealed bytes of every member's
share), and the challenge rho_r is a hash of that commitment (Fiat-Shamir 1986). It publishes, for
each repetition r, the polynomial

    g_r = sum_{k<L} rho_r^{k+1} f_k + f_{L+r}.

Member i accepts if g_r(i) equals the same combination of its own shares for every r.

Soundness. Let some column k < L of the honest members' shares (more than t+1 of them) lie on no
polynomial of degree t. Degree-t codewords have linear checks (syndromes); let e_k be the value of a
check that column k fails. g_r has degree t by its form, so if all the honest accept, the check
vanishes on the combination: e_{L+r} + sum_k rho_r^{k+1} e_k = 0. All e were fixed before rho_r was
hashed from them, and this is a nonzero polynomial in rho_r of degree at most L: at most L of the p
challenges satisfy it. The two challenges are independent, so the chance is (L/p)^2: 2^-96 at
L = 2^13, the longest vector of a plan, 2^-82 at L = 2^20. A dealer that varies its commitment
multiplies this by the number of hashes it can afford; one repetition would leave 2^-48, within reach
of an afternoon of hashing, and that is what the second one is for.

Zero knowledge. f_{L+r} is uniform of degree t, so g_r is uniform whatever the secrets are and tells
nothing, as long as a masked batch is proven once: a second challenge over the same columns would
reveal sum (rho^{k+1} - rho'^{k+1}) f_k. The binding must therefore never change for a batch.

Symbols: t degree, L secrets, rho challenges, m members.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import Elements, P
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse

REPETITIONS = 2
_STEP = 128
_OWN_STEP = 64


def challenge(binding: bytes) -> Elements:
    """Challenges (REPETITIONS,) that nobody could choose: a hash of `binding`, all that is committed to."""
    seed = hashlib.sha3_256(b"coppice/degree-check/1" + binding).digest()
    return Xof(seed, "degree-check").elements(REPETITIONS)


def respond(polynomials: Elements, rho: Elements) -> Elements:
    """The dealer's g_r, coefficients lowest first: (t+1, L+2) and (2,) -> (2, t+1)."""
    return masked_combination(polynomials, rho).T.copy()


def masked_combination(shares: Elements, rho: Elements) -> Elements:
    """sum_{k<L} rho_r^{k+1} s_k + s_{L+r} for each r: (L+2,) -> (2,), or (m, L+2) -> (m, 2).

    Raises LocalMisuse when there is no room for the masks.
    """
    if shares.ndim == 1:
        return np.asarray(masked_combination(shares[None, :], rho)[0])
    length = shares.shape[1] - REPETITIONS
    if length < 0:
        raise LocalMisuse(f"a batch of {shares.shape[1]} columns holds no {REPETITIONS} masks")
    return field.add(_at_powers(shares[:, :length], rho), shares[:, length:])


def _at_powers(rows: Elements, rho: Elements) -> Elements:
    """sum_k rho_r^{k+1} s_k: (m, L) -> (m, 2), in steps of _STEP columns so that few powers are needed."""
    m, length = rows.shape
    if m == 1 and length:  # a single short row: all powers at once are cheaper
        every = np.stack([field.powers(int(r), length) for r in rho])
        return field.total(field.mul(every, rows), axis=1)[None, :]
    steps = length // _STEP
    small = np.stack([field.powers(int(r), _STEP) for r in rho], axis=1)
    large = np.stack([field.powers(pow(int(r), _STEP, P), steps + 1, 0) for r in rho], axis=1)
    whole = np.ascontiguousarray(rows[:, : steps * _STEP]).reshape(m * steps, _STEP)
    blocks = field.matmul(whole, small).reshape(m, steps, REPETITIONS)
    rest = field.matmul(rows[:, steps * _STEP :], small[: length - steps * _STEP])
    return field.add(
        field.total(field.mul(blocks, large[:-1]), axis=1),
        field.mul(rest, large[-1]),
    )


def holds(share: Elements, point: int, rho: Elements, response: Elements) -> bool:
    """Whether a member's own share (L+2,) at `point` lies on the published polynomials (2, t+1)."""
    claimed = polynomial.evaluate(response.T, [point])[0]
    return bool(np.array_equal(claimed, masked_combination(share, rho)))


def holds_each(shares: Elements, point: int, rho: Elements, responses: Elements) -> npt.NDArray[np.bool_]:
    """`holds` for K dealings to one member: (K, L+2), (K, 2), (K, 2, t+1) -> (K,).

    Each dealing is judged by its own challenge, so a liar among them is named at once; what they share are
    the calls of numpy, which cost a single short vector more than the arithmetic.
    """
    count, repetitions = rho.shape
    if shares.shape[1] < REPETITIONS:
        raise LocalMisuse(f"a batch of {shares.shape[1]} columns holds no {REPETITIONS} masks")
    coefficients = responses.reshape(count * repetitions, -1).T
    claimed = polynomial.evaluate(coefficients, [point])[0].reshape(count, repetitions)
    combined = field.add(_at_own_powers(shares[:, :-REPETITIONS], rho), shares[:, -REPETITIONS:])
    return np.asarray((claimed == combined).all(axis=1))


def _at_own_powers(rows: Elements, rho: Elements) -> Elements:
    """sum_k rho_r^{k+1} s_k with each row's own rho: (K, L), (K, 2) -> (K, 2); k = _OWN_STEP i + j."""
    count, length = rows.shape
    steps = max(1, -(-length // _OWN_STEP))
    padded = np.zeros((count, steps, _OWN_STEP), dtype=np.uint64)
    padded.reshape(count, -1)[:, :length] = rows
    small = _powers(rho, _OWN_STEP)  # (K, step, 2): rho^(j+1)
    inner = field.matmul_each(padded, small)  # (K, steps, 2)
    if steps == 1:
        return inner[:, 0]
    large = _powers(small[:, -1], steps - 1)  # (K, steps-1, 2): rho^(step i)
    return field.add(inner[:, 0], field.total(field.mul(inner[:, 1:], large), axis=1))


def _powers(base: Elements, count: int) -> Elements:
    """base^1 .. base^count by doubling: (K, 2) -> (K, count, 2)."""
    result = np.empty((base.shape[0], count, base.shape[1]), dtype=np.uint64)
    result[:, 0] = base
    done = 1
    while done < count:
        more = min(done, count - done)
        result[:, done : done + more] = field.mul(result[:, :more], result[:, done - 1 : done])
        done += more
    return result
