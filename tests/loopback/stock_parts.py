"""Tests that play a hole of libp2p on its stock parts and on ours share these."""

from __future__ import annotations

import pytest
from nacl.signing import SigningKey

from mesh.net.secure_channel import ChannelMaker
from protocols.identifiers import PartyId
from tests.loopback.net_nodes import seed

BOTH = pytest.mark.parametrize("which", ["stock", "ours"])


def port_of(transport) -> int:
    return int(transport.addresses()[0].split("/")[4])


def stock_keys(number: int):
    from libp2p.crypto.ed25519 import create_new_key_pair

    return create_new_key_pair(seed(number))


async def hand_shaken(stream, number: int, expected: PartyId, key: bytes | None):
    """A libp2p peer with a valid identity, in the hands of the test."""
    return await ChannelMaker(seed(number), key).outbound(stream, expected)


def party(number: int) -> PartyId:
    return PartyId(bytes(SigningKey(seed(number)).verify_key))
