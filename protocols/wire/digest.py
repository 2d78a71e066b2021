"""BLAKE2b-256 with a domain label, so that a digest made for one purpose never serves another."""

from __future__ import annotations

import hashlib

from protocols.identifiers import Digest

_LARGE = 1 << 16
"""Bytes of a part from which on hashing it where it lies beats joining the parts."""


def digest(label: str, *parts: bytes) -> Digest:
    """Hash of `parts`, each prefixed by its length, under `label`.

    The label is the BLAKE2b personalisation: at most 16 bytes of UTF-8.
    """
    framed: list[bytes] = []
    for part in parts:
        if len(part) > _LARGE:
            return _of_large(label, parts)
        framed += (len(part).to_bytes(8, "big"), part)
    data = b"".join(framed)
    return Digest(hashlib.blake2b(data, digest_size=32, person=label.encode()).digest())


def _of_large(label: str, parts: tuple[bytes, ...]) -> Digest:
    """The same, without a second copy of the parts."""
    state = hashlib.blake2b(digest_size=32, person=label.encode())
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return Digest(state.digest())
