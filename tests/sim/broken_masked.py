"""Deliberately broken builds of sessions with masked vectors."""

from __future__ import annotations

from protocols.sessions import audit, auditor
from protocols.sessions.ledger import Ledger
from tests.sim.broken_builds import Broken
from tools.sim.masked_scenario import draw


def blind_audit(patch):
    """Whatever the fingerprints say, the sum passes."""
    patch.setattr(audit, "adds_up", lambda *_: True)


def forgotten_generation(patch):
    """The vectors behind an interim roster are not added."""

    def behind(self, roster):
        return [(self, group) for group in roster.groups if group.child != self.assembly.stage]

    patch.setattr(Ledger, "behind", behind)


def blaming_audit(patch):
    """The adder that was asked is blamed, whether it is there or not, and with proof."""
    honest = auditor.Audit._condemn

    def condemn(self, made, fault, proven):
        self._lost = frozenset()
        return honest(self, made, fault, True)

    patch.setattr(auditor.Audit, "_condemn", condemn)


BUILDS = (
    Broken(blind_audit, draw, "masked total", 26),
    Broken(forgotten_generation, draw, "honest blameless", 9100027),
    Broken(blaming_audit, draw, "honest blameless", 9100165),
)
