"""Parameter sets of the one-shot mask as named constants, and the rule that picks one.

Source: design section 3. A device sends c = floor((a s + e) / 2^d) + 2^g x mod 2^k in Z[X]/(X^N + 1), where
q = 2^(k+d), x a value (or two) and 2^g its scale. Sums of n devices need g >= 1 + log2(8 * 0.31 sqrt(n)):

    k = slots (b + log2 n) + 1 + ceil(log2(8 * 0.31 sqrt(n)))

Decoding never fails: in units of 2^d the noise of n devices is sum(e)/2^d plus n rounding errors, each
uniform on a width of 1 (the masked value is pseudorandom). Both are sub-Gaussian, so with
v = n (sigma^2 / 4^d + 1/12),  P(|noise| > 10 sqrt(v)) <= 2 exp(-50) < 2^-71 per coordinate.
`noise_bound` is 10 sqrt(v) + 1; the decoding bound 2^(g-1) lies above it in every set (11.4 to 13.1 sqrt(v)).
The gap is what makes a wrong key visible: its residue is uniform, and lands outside `noise_bound` with
probability 12 to 24 % in EACH of at least a few hundred coordinates.

Security of a set: the devices' keys are Gaussian with sigma = 6.4, and the revealed sum of keys (and, by
decoding, of errors) of at least two honest devices is a hint that leaves RLWE with sigma/2 = 3.2
(Hint-LWE: Kim, Lee, Seo, Song, CRYPTO 2023, for one hint of the same width). Rounding only
helps. One s serves all blocks of a session: block b is the sample (a_b, a_b s + e_b) with a_b uniform and
independent, i.e. ordinary RLWE with many samples (Lyubashevsky-Peikert-Regev 2010), and the hint is one
vector (s, e_1, ..., e_B) plus another of the same distribution, so the reduction is that of one block.

Cross-check of the security columns. Recomputed here, in tests/reference/test_masking_security.py: the primal
uSVP attack under the geometric-series assumption with N and q of the set, secret and error of 3.2, the number
of samples chosen freely by the attacker; block size beta of least cost in dimension D; `core_svp` =
0.292 beta, `he_standard` = 0.292 beta + 16.4 + log2(8 D) (the model behind the tables of the
homomorphic-encryption standard, 2018, whose 128-bit row the same code reproduces within 4 bits). Not rerun
here: the lattice-estimator (it needs Sage), and with it dual, hybrid and bounded-distance-decoding attacks.
In a run its documentation shows (n = 1024, q = 2^27, width 3) the best primal attack has beta = 374 where
this code gives 382; so read the columns as up to 3 % of beta, 2 to 6 bits, optimistic. Arora-Ge and BKW are
out of reach for errors of this width even with the 10^7 samples of a long vector. The two sets whose
`core_svp` is 104 are the limit of N = 2048 at their modulus: they meet 128 bits in the standard's model only.

Symbols: b value bits, n devices, N ring degree, q modulus, k bits sent, d bits dropped, g scale bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from protocols.arithmetic.gaussian import SIGMA
from protocols.errors import LocalMisuse

NOISE_SIGMAS = 10.0
MIN_SECURITY = 128
"""Least `he_standard` estimate that `choose` accepts."""
DIRECT_LIMIT = 8192
"""Longest vector that a session deals directly (a plan's largest length)."""
DIRECT_ALWAYS = 2000
"""Up to this length a vector is dealt directly even where a mask would upload less: privacy that rests on no
assumption is worth 0.1 MB."""
SHARE_BYTES = 8
ELEMENT_BITS = 60
"""What an element of AGG holds beside a sign."""
EXTRAS = 2
"""Field elements dealt after the key: the check of the vector and the site's weight."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """One row of the table in design section 3."""

    name: str
    value_bits: int
    devices_log2: int
    slots: int
    degree: int
    limbs: int
    limb_bits: int
    sent_bits: int
    he_standard: int
    core_svp: int

    @property
    def devices(self) -> int:
        """Most contributions a sum may have: 2^devices_log2."""
        return 1 << self.devices_log2

    @property
    def modulus_bits(self) -> int:
        """log2 q."""
        return self.limbs * self.limb_bits

    @property
    def dropped_bits(self) -> int:
        """d: bits rounded away before upload."""
        return self.modulus_bits - self.sent_bits

    @property
    def slot_bits(self) -> int:
        """b + log2 n: signed width of a sum."""
        return self.value_bits + self.devices_log2

    @property
    def scale_bits(self) -> int:
        """g: the value is sent times 2^g; noise below 2^(g-1) is rounded off."""
        return self.sent_bits - self.slots * self.slot_bits

    @property
    def key_digits(self) -> int:
        """Coefficients of the key that share a dealt element: as many as their sums leave room for."""
        return ELEMENT_BITS // (self.key_bound(self.devices).bit_length() + 1)

    @property
    def key_digit_bits(self) -> int:
        """Width of one of them, sign included."""
        return ELEMENT_BITS // self.key_digits

    @property
    def key_elements(self) -> int:
        """Field elements that hold the key."""
        return -(-self.degree // self.key_digits)

    @property
    def dealt_length(self) -> int:
        """Field elements dealt to the committee: the key and EXTRAS."""
        return self.key_elements + EXTRAS

    @property
    def over_float32(self) -> float:
        """Bits sent for a value over 32, the key shares not counted."""
        return self.sent_bits / (32 * self.slots)

    @property
    def decoding_bound(self) -> int:
        """Noise of this magnitude would change the result: 2^(g-1)."""
        return 1 << (self.scale_bits - 1)

    def noise_deviation(self, contributors: int) -> float:
        """Standard deviation of the noise in a sum, in units of a sent coordinate."""
        return math.sqrt(contributors * (SIGMA**2 / 4.0**self.dropped_bits + 1 / 12))

    def noise_bound(self, contributors: int) -> int:
        """What honest noise exceeds with probability below 2^-71 in a coordinate (docstring above)."""
        return math.ceil(NOISE_SIGMAS * self.noise_deviation(contributors)) + 1

    def key_bound(self, contributors: int) -> int:
        """What a coefficient of an honest sum of keys exceeds with probability below 2 exp(-72)."""
        return math.ceil(12 * SIGMA * math.sqrt(contributors))


B16_N10_TWO_SLOTS = Parameters("16-bit, 2^10 devices, two slots", 16, 10, 2, 4096, 3, 22, 60, 233, 200)
B16_N10 = Parameters("16-bit, 2^10 devices", 16, 10, 1, 2048, 2, 20, 34, 191, 160)
B16_N14 = Parameters("16-bit, 2^14 devices", 16, 14, 1, 2048, 2, 23, 40, 163, 131)
B16_N20 = Parameters("16-bit, 2^20 devices", 16, 20, 1, 2048, 2, 27, 49, 135, 104)
B24_N14 = Parameters("24-bit, 2^14 devices", 24, 14, 1, 2048, 2, 27, 48, 135, 104)

TABLE = (B16_N10_TWO_SLOTS, B16_N10, B16_N14, B16_N20, B24_N14)


@dataclass(frozen=True, slots=True)
class Choice:
    """How a vector is to be sent: `parameters` is None for direct sharing. `reason` is for people."""

    parameters: Parameters | None
    upload_bytes: int
    reason: str


def choose(length: int, value_bits: int, devices: int, *, seats: int = 7) -> Choice:
    """The mode and set that upload least among those that hold the values and are safe.

    `seats` is the size of the committee to which the key (or a short vector) is dealt, one field element a
    value and seat. Raises LocalMisuse when no set fits and the vector is too long to be dealt directly.
    """
    if length < 1 or value_bits < 1 or devices < 1 or seats < 1:
        raise LocalMisuse("length, value bits, devices and seats are at least 1")
    direct = SHARE_BYTES * length * seats
    fitting = [
        (_upload(candidate, length, seats), candidate)
        for candidate in TABLE
        if candidate.value_bits >= value_bits
        and candidate.devices >= devices
        and candidate.he_standard >= MIN_SECURITY
    ]
    if fitting and length > DIRECT_ALWAYS:
        masked, parameters = min(fitting, key=lambda pair: pair[0])
        if masked < direct or length > DIRECT_LIMIT:
            return Choice(parameters, masked, _masked_reason(parameters, length, masked, direct))
    if length <= DIRECT_LIMIT:
        reason = f"{length} values are dealt directly: {direct:,} bytes, no mask needed"
        return Choice(None, direct, reason)
    raise LocalMisuse(
        f"no parameter set holds {value_bits}-bit values of {devices} devices",
        fix="use at most 24 bits with 2^14 devices or 16 bits with 2^20, or split the devices over sessions",
    )


def _upload(parameters: Parameters, length: int, seats: int) -> int:
    coordinates = -(-length // parameters.slots)
    return coordinates * parameters.sent_bits // 8 + SHARE_BYTES * parameters.dealt_length * seats


def _masked_reason(parameters: Parameters, length: int, masked: int, direct: int) -> str:
    return (
        f"{length} values are masked with '{parameters.name}': {masked:,} bytes with the key shares "
        f"({masked / (4 * length):.2f} of float32), where dealing directly takes {direct:,}; "
        f"estimated security {parameters.he_standard} bits (HE standard), {parameters.core_svp} (core-SVP)"
    )
