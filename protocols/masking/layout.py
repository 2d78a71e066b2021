"""Where each value of a long vector lies: spans of 2^16 coordinates masked, sent and added one by one.

Decides the cutting that every party of a session shares. Slots: value j of a span goes to slot j mod slots
of coordinate j div slots, as x_0 + 2^w x_1 with w = slot bits (signed). After the last value follow zeros
up to a multiple of 8 coordinates; the last span is cut there: a short tail costs no full ring element.

Invariant: a span is self-contained. Given the seed it can be masked, packed, added and unmasked without any
other span, which bounds the memory of a node by the spans in flight.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.errors import LocalMisuse
from protocols.masking.packing import packed_size
from protocols.masking.parameters import Parameters

SPAN_COORDINATES = 1 << 16
"""Formula: a span's temporaries are about ten times 8 * 2^16 bytes = 0.5 MB, its packed form 0.28 to 0.5 MB.
Larger: fewer numpy calls (nothing gained beyond 2^16 here) but longer frames ahead of small messages."""


@dataclass(frozen=True, slots=True)
class Span:
    """One piece: values [first, first + values) in `coordinates` coordinates."""

    index: int
    coordinates: int
    first: int
    values: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A vector of `length` values under `parameters`. Raises LocalMisuse for an empty vector."""

    parameters: Parameters
    length: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise LocalMisuse(f"a vector of {self.length} values cannot be masked")

    @property
    def coordinates(self) -> int:
        """Coordinates sent in all, a multiple of 8."""
        used = -(-self.length // self.parameters.slots)
        return -(-used // 8) * 8

    @property
    def spans(self) -> int:
        """Number of spans."""
        return -(-self.coordinates // SPAN_COORDINATES)

    @property
    def packed_bytes(self) -> int:
        """Upload of one device, its key shares not counted."""
        return packed_size(self.coordinates, self.parameters.sent_bits)

    def span(self, index: int) -> Span:
        """Piece `index`. Raises LocalMisuse if there is no such piece."""
        if not 0 <= index < self.spans:
            raise LocalMisuse(f"span {index} of a vector of {self.spans}")
        coordinates = min(SPAN_COORDINATES, self.coordinates - index * SPAN_COORDINATES)
        first = index * SPAN_COORDINATES * self.parameters.slots
        stop = min(first + coordinates * self.parameters.slots, self.length)
        return Span(index, coordinates, first, stop - first)

    def span_bytes(self, index: int) -> int:
        """Size of piece `index` on the wire."""
        return packed_size(self.span(index).coordinates, self.parameters.sent_bits)
