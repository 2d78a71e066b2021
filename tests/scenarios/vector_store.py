"""A node's vector store for the pump: whole packed vectors in memory, named by their digest."""

from __future__ import annotations

import numpy as np

from protocols.identifiers import Digest
from protocols.masking import one_shot
from protocols.masking.fingerprint import Fingerprint
from protocols.masking.layout import SPAN_COORDINATES, Layout
from protocols.wire.digest import digest


class MemoryStore:
    """Packed messages by name; adds them span by span."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.packed: dict[Digest, np.ndarray] = {}
        self.mine: Digest | None = None

    def put(self, packed: np.ndarray) -> Digest:
        """Store; the name."""
        name = digest("test vector", packed.tobytes())
        self.packed[name] = packed
        return name

    def total(self, parts: tuple[Digest, ...]) -> np.ndarray:
        """Integer sum of stored vectors, (coordinates,) uint64."""
        result = np.zeros(self.layout.coordinates, dtype=np.uint64)
        for name in parts:
            start = 0
            for index in range(self.layout.spans):
                size = self.layout.span_bytes(index)
                first = index * SPAN_COORDINATES
                span = result[first : first + self.layout.span(index).coordinates]
                one_shot.add_packed(self.layout, span, self.packed[name][start : start + size])
                start += size
        return result

    def fingerprint(self, challenge: Digest, name: Digest) -> bytes:
        """As an audit asks for it."""
        words, found = self.total((name,)), Fingerprint(challenge)
        for i in range(self.layout.spans):
            found.add(i, words[i * SPAN_COORDINATES :][: self.layout.span(i).coordinates])
        return found.value().astype("<u8").tobytes()

    def add(self, parts: tuple[Digest, ...]) -> Digest:
        """Store the sum in packed form; its name."""
        total = self.total(parts)
        pieces = [
            one_shot.pack_total(self.layout, total[i * SPAN_COORDINATES :][: self.layout.span(i).coordinates])
            for i in range(self.layout.spans)
        ]
        return self.put(np.concatenate(pieces))
