"""BLAKE2b-256 with a domain label, so that a digest made for one purpose never serves another."""

from __future__ import annotations

import hashlib

from protocols.identifiers import Digest


def digest(label: str, *parts: bytes) -> Digest:
    """Hash of `parts`, each prefixed by its length, under `label`.

    The label is the BLAKE2b personalisation: at most 16 bytes of UTF-8.
    """
    state = hashlib.blake2b(digest_size=32, person=label.encode())
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return Digest(state.digest())
