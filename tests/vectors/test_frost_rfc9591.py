"""Shamir over a group's order: the shares of RFC 9591's FROST vectors, opened with our Lagrange weights."""

from __future__ import annotations

import json
import os
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from nacl import bindings as sodium

from protocols.arithmetic import polynomial

ORDER = 2**252 + 27742317777372353535851937790883648493
FOLDER = (
    Path(os.environ.get("COPPICE_VECTORS", Path(__file__).parents[2].parent / "shared" / "vectors")) / "frost"
)


def load(name: str) -> dict[str, Any]:
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"RFC 9591 vectors are not at {FOLDER}; name their folder in COPPICE_VECTORS")
    return json.loads(path.read_text())["inputs"]


def scalar(text: str) -> int:
    return int.from_bytes(bytes.fromhex(text), "little")


@pytest.mark.parametrize("name", ["frost-ed25519-sha512.json", "frost-ristretto255-sha512.json"])
def test_any_two_shares_open_the_group_secret_and_predict_the_third(name: str) -> None:
    inputs = load(name)
    secret, slope = scalar(inputs["group_secret_key"]), scalar(inputs["share_polynomial_coefficients"][0])
    shares = {item["identifier"]: scalar(item["participant_share"]) for item in inputs["participant_shares"]}
    assert len(shares) == 3
    assert shares == {x: (secret + slope * x) % ORDER for x in shares}
    for pair in combinations(shares, 2):
        for at, expected in ((0, secret), *shares.items()):
            weights = polynomial.lagrange_weights(pair, at, ORDER)
            assert sum(w * shares[x] for w, x in zip(weights, pair, strict=True)) % ORDER == expected


def test_the_opened_secret_is_the_key_of_the_group() -> None:
    inputs = load("frost-ed25519-sha512.json")
    shares = {item["identifier"]: scalar(item["participant_share"]) for item in inputs["participant_shares"]}
    weights = polynomial.lagrange_weights([1, 3], 0, ORDER)
    opened = (weights[0] * shares[1] + weights[1] * shares[3]) % ORDER
    point = sodium.crypto_scalarmult_ed25519_base_noclamp(opened.to_bytes(32, "little"))
    assert point.hex() == inputs["group_public_key"]
