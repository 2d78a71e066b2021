"""A mask key as few field elements: several of its small coefficients to one element, as digits.

Decides what of a key is dealt. A coefficient of a sum of keys is below B = `Parameters.key_bound` in
magnitude (a few thousand), an element of AGG holds 60 bits and a sign. So w = `Parameters.key_digits`
coefficients share an element, in base 2^D, D = 60 div w bits with B < 2^(D-1):

    element j = sum over i < w of s[i m + j] 2^(D i) mod p,     m = ceil(N / w), s padded with zeros

(i m + j, not w j + i: whole stretches of the array are shifted, none is gathered).

Invariant: digits add up without carries, because each sum of digits stays within (-2^(D-1), 2^(D-1)); the
sum of w of them is below 2^(D w - 1) (1 + 2^(1-D)) < p/2, so nothing wraps mod p either. Hence the sum of
elements is the element of the sum of keys: opening it tells that sum and nothing else, as before.

A dealer that deals other elements than digits in range spoils the opened sum, as one that dealt other
coefficients did: `unfold` gives whatever digits the element has, the last one whole, and the bounds on them
(`one_shot.parse_opened`) or the noise of the decoded vector give the damage away.

Symbols: N ring degree, s coefficients, w digits an element, D bits of a digit, m elements, p = 2^61-1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.errors import LocalMisuse
from protocols.masking.parameters import Parameters

Integers = npt.NDArray[np.int64]


def fold(coefficients: Integers, parameters: Parameters) -> Elements:
    """(N,) small signed coefficients as (key_elements,) field elements."""
    if coefficients.shape != (parameters.degree,):
        raise LocalMisuse(f"a key of {parameters.name} has {parameters.degree} coefficients")
    digits = np.zeros((parameters.key_digits, parameters.key_elements), dtype=np.int64)
    digits.reshape(-1)[: parameters.degree] = coefficients
    packed = digits[-1].copy()
    for row in digits[-2::-1]:
        packed <<= np.int64(parameters.key_digit_bits)
        packed += row
    return field.from_signed(packed)


def unfold(elements: Elements, parameters: Parameters) -> Integers:
    """The (N,) coefficients whose sums of digits these (key_elements,) elements are; padding is kept out.

    Values that no sum of honest keys has come out as what they are, in the last digit unbounded.
    """
    if elements.shape != (parameters.key_elements,):
        raise LocalMisuse(f"a key of {parameters.name} is dealt as {parameters.key_elements} elements")
    bits = np.int64(parameters.key_digit_bits)
    shift = np.int64(64) - bits
    rest = field.to_signed(elements)
    digits = np.empty((parameters.key_digits, parameters.key_elements), dtype=np.int64)
    for row in digits[:-1]:
        np.left_shift(rest, shift, out=row)
        row >>= shift
        rest -= row
        rest >>= bits
    digits[-1] = rest
    return digits.reshape(-1)[: parameters.degree]
