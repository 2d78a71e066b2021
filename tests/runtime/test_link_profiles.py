"""Which buffers a node's links get: those of the path that its patience speaks of."""

from __future__ import annotations

import pytest

from mesh.config import resolve
from mesh.net.profile import FIELD, LAN, WAN, fitting
from protocols.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "named"), [("localhost", LAN), ("lan", LAN), ("wan", WAN), ("field", FIELD)]
)
def test_each_configured_profile_has_the_buffers_of_its_paths(name, named):
    config = resolve(None, flags={}, environment={}, profile=name).config
    found = fitting(
        heartbeat_s=config.heartbeat_s,
        detect_s=config.detect_s,
        max_links=config.max_links,
        max_guests=config.max_guests,
    )
    assert (found.heartbeat_s, found.detect_s) == (config.heartbeat_s, config.detect_s)
    assert (found.max_links, found.max_guests) == (config.max_links, config.max_guests)
    for what in ("dial_timeout_s", "backoff_most_s", "write_bytes", "unsent_bytes", "receive_bytes"):
        assert getattr(found, what) == getattr(named, what)


def test_contradictions_are_refused_here_too():
    with pytest.raises(ConfigError):
        fitting(heartbeat_s=5.0, detect_s=6.0, max_links=8, max_guests=2)
