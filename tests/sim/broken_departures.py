"""Deliberately broken builds of sessions that members and adders leave in turn."""

from __future__ import annotations

from protocols.sessions import adder, handing, relaying
from tests.sim.broken_builds import Broken
from tools.sim.departure_scenario import draw


def no_refill(patch):
    """Nobody is replaced while a stage collects."""
    patch.setattr(adder.Adder, "_successors", lambda self, now: ())


def no_handover(patch):
    """Nobody is replaced once there is a final roster."""
    patch.setattr(handing.Handovers, "advance", lambda self, now: [])


def untold_adder(patch):
    """Nobody tells the next adder what was dealt by who is gone."""
    patch.setattr(relaying.Relay, "hand_on", lambda self, adder, lost: [])


BUILDS = [
    Broken(no_refill, draw, "nobody lost", 2),
    Broken(no_handover, draw, "nobody lost", 65),
    Broken(untold_adder, draw, "nobody lost", 36),
]
