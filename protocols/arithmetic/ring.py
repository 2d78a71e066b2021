"""Exact products in Z[X]/(X^N + 1) by floating-point FFT, reduced modulo powers of two.

Decides how a public ring element a is held: in limbs, a = sum_i 2^(w i) a_i with every coefficient of
a_i in [-2^(w-1), 2^(w-1)). A modulus q = 2^(w l) then never appears as a number: uniform limbs are a
uniform a mod q, and words of 64 bits that wrap give the result mod 2^64, so that even q = 2^66 needs
no two-word arithmetic as long as the low bits are dropped at once (`product_high`).

Method: negacyclic convolution as a cyclic one of half the length ("right-angle convolution",
Crandall-Fagin 1994; Bernstein, "Multidigit multiplication for mathematicians"). Coefficients
j and j+N/2 become one complex number, twisted by exp(i pi j/N); the FFT of length M = N/2 evaluates at
half of the roots of X^N + 1, and the other half are their conjugates.

Invariant (exactness): the float result is within `error_bound` < MAX_ERROR < 1/2 of the integer, so
rounding restores it. Proof, with u = 2^-53, L = log2 M, |.| the Euclidean norm of the coefficients:
  1. A transform of L radix-2 levels with weights good to 2u has a relative error of at most 8 L u
     (Higham, Accuracy and Stability, 2nd ed., theorem 24.2: eta = mu + gamma_4 (sqrt 2 + mu) < 8u); a
     radix-4 or 8 pass does the same additions with fewer multiplications. The twist adds 4u.
  2. W = A.S pointwise. By Cauchy-Schwarz sum_k |dW_k| <= (2 (8L+4) + 3) u M |a| |s|, and the exact
     inverse maps that to at most (16L + 11) u |a| |s| in each coefficient.
  3. Rounding inside the inverse: in the factorisation behind theorem 24.2 the product of the absolute
     values of the factors is the all-ones matrix, so each coefficient is off by at most
     8 L u (1/M) sum_k |W_k| <= 8 L u |a| |s|. Untwisting adds 4u.
  In all (24 L + 15) u |a| |s|; `error_bound` takes 32 (L+1) u |a| |s| with |a| <= 2^(w-1) sqrt(N).
  Measured errors are about a thousand times smaller.
A factor whose norm is too large for that is cut into centred digits itself (`Factor`).

Symbols: N degree, M = N/2, w limb bits, l limbs, B blocks (ring elements at once), s small factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import scratch
from protocols.errors import LocalMisuse

MAX_ERROR = 0.4
"""Largest proven distance from the integer that is still accepted; 1/2 would be ambiguous."""

Spectra = npt.NDArray[np.complex128]
Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Limbs = npt.NDArray[np.int32]


def error_bound(degree: int, limb_bits: int, norm: float) -> float:
    """Proven bound on |float - integer| in each coefficient, for a factor of Euclidean norm `norm`."""
    levels = math.log2(degree // 2)
    return 32 * (levels + 1) * 2.0**-53 * 2.0 ** (limb_bits - 1) * math.sqrt(degree) * norm


@dataclass(frozen=True, slots=True, repr=False)
class Factor:
    """The small operand, transformed once for many products: s = sum_j 2^(h j) digit_j."""

    degree: int
    limb_bits: int
    digit_bits: int
    spectra: tuple[Spectra, ...]

    def __repr__(self) -> str:
        return f"Factor(degree={self.degree}, digits={len(self.spectra)}, redacted)"


def factor(coefficients: npt.NDArray[np.integer], limb_bits: int) -> Factor:
    """Prepare s, (N,) signed integers, for exact products with w-bit limbs.

    The number of digits depends on the norm of s; for fresh secrets it is one, whatever their value.
    Raises LocalMisuse if N is not a power of two >= 4, if a product could leave 63 bits, or if no digit size
    makes it exact.
    """
    s = np.asarray(coefficients, dtype=np.int64)
    degree = s.size
    if s.ndim != 1 or degree < 4 or degree & (degree - 1):
        raise LocalMisuse(f"ring degree {s.shape} is not a power of two")
    if int(np.abs(s).max()) >= 1 << 32 or int(np.abs(s).sum()) >= 1 << (63 - limb_bits):
        raise LocalMisuse(f"the factor is too large: its products with {limb_bits} bits leave 63 bits")
    norm = float(np.linalg.norm(s.astype(np.float64)))
    if error_bound(degree, limb_bits, norm) <= MAX_ERROR:
        return Factor(degree, limb_bits, 0, (_transformed(s),))
    digit_bits = _widest_digit(degree, limb_bits)
    digits = []
    while np.any(s):
        low = ((s + (1 << (digit_bits - 1))) & ((1 << digit_bits) - 1)) - (1 << (digit_bits - 1))
        digits.append(_transformed(low))
        s = (s - low) >> digit_bits
    return Factor(degree, limb_bits, digit_bits, tuple(digits))


def _transformed(digit: Integers) -> Spectra:
    return _spectrum(digit[None, :], np.empty((1, digit.size // 2), dtype=np.complex128))


def _widest_digit(degree: int, limb_bits: int) -> int:
    for bits in range(32, 1, -1):
        if error_bound(degree, limb_bits, 2.0 ** (bits - 1) * math.sqrt(degree)) <= MAX_ERROR:
            return bits
    raise LocalMisuse(f"limbs of {limb_bits} bits are too wide for exact products of degree {degree}")


def product(limb: Limbs, small: Factor, out: Integers | None = None) -> Integers:
    """Exact integer coefficients of a_i * s mod X^N + 1: (B, N) limbs of at most w bits -> (B, N) int64.

    Raises LocalMisuse if the shapes do not fit.
    """
    if limb.ndim != 2 or limb.shape[1] != small.degree:
        raise LocalMisuse(f"limbs of shape {limb.shape} do not match degree {small.degree}")
    result = np.empty(limb.shape, dtype=np.int64) if out is None else out
    spectrum = _spectrum(limb, scratch.take("ring_limb", (limb.shape[0], limb.shape[1] // 2), np.complex128))
    if len(small.spectra) == 1:
        spectrum *= small.spectra[0]
        return _integers(spectrum, result)
    result[:] = 0
    for j, digit in enumerate(small.spectra):
        term = _integers(spectrum * digit, scratch.take("ring_digit", limb.shape, np.int64))
        term <<= np.int64(j * small.digit_bits)
        result += term
    return result


def product_high(
    limbs: Limbs, small: Factor, dropped_bits: int, addend: npt.NDArray[np.integer] | int
) -> Words:
    """floor((a * s + addend) / 2^dropped) mod 2^64 for a = sum_i 2^(w i) limbs[i], (l, B, N) -> (B, N).

    `addend`: integers of shape (B, N), or one for all. As dropped <= w only the lowest limb loses bits, so
    no more than one word is needed. Raises LocalMisuse if dropped > w or the shapes do not fit.
    """
    if not 0 <= dropped_bits <= small.limb_bits:
        raise LocalMisuse(f"cannot drop {dropped_bits} bits of limbs of {small.limb_bits}")
    lowest = product(limbs[0], small)
    lowest += addend
    lowest >>= np.int64(dropped_bits)
    for i in range(1, limbs.shape[0]):
        higher = product(limbs[i], small, scratch.take("ring_higher", lowest.shape, np.int64))
        higher <<= np.int64(i * small.limb_bits - dropped_bits)
        lowest += higher
    return lowest.view(np.uint64)


@lru_cache(maxsize=8)
def _twist(half: int) -> Spectra:
    angles = np.arange(half, dtype=np.float64) * (math.pi / (2 * half))
    return np.asarray(np.cos(angles) + 1j * np.sin(angles), dtype=np.complex128)


@lru_cache(maxsize=8)
def _untwist(half: int) -> Spectra:
    return np.asarray(_twist(half).conj(), dtype=np.complex128)


def _spectrum(coefficients: npt.NDArray[np.integer], out: Spectra) -> Spectra:
    """Values at N/2 of the roots of X^N + 1: (B, N) -> (B, N/2)."""
    half = coefficients.shape[1] // 2
    out.real = coefficients[:, :half]
    out.imag = coefficients[:, half:]
    out *= _twist(half)
    return np.fft.ifft(out, norm="forward", out=out)


def _integers(spectrum: Spectra, out: Integers) -> Integers:
    """Back to coefficients, rounded: (B, N/2) -> (B, N); overwrites `spectrum`."""
    half = spectrum.shape[1]
    np.fft.fft(spectrum, norm="forward", out=spectrum)
    spectrum *= _untwist(half)
    np.rint(spectrum.real, out=out[:, :half], casting="unsafe")
    np.rint(spectrum.imag, out=out[:, half:], casting="unsafe")
    return out
