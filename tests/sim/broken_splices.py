"""Builds of sessions without a check that only a spliced message asks for."""

from __future__ import annotations

from protocols.sessions import bulk, parcels
from tests.sim.broken_builds import Broken
from tools.sim.splice_scenario import draw


def divided_by_nothing(patch):
    """How many shares go together rests on the longest one, which a liar may leave empty."""

    def step(self):
        longest = max(len(blob) for account in self._waiting for blob in account.deal.sealed)
        return max(1, parcels.PARCEL_BYTES // longest) if self._together else 1

    patch.setattr(parcels.Parcels, "_step", step)


def vectors_of_no_mask(patch):
    """Messages about masked vectors are looked at in sessions that have none."""
    honest = bulk.BulkWork.receive

    def receive(self, sender, message, lost, adders):
        if self.plan.bulk is not None or not isinstance(message, bulk.TotalVector):
            return honest(self, sender, message, lost, adders)
        told = any(sender in stage.adders for stage in self.plan.stages)
        self._told_us.update({sender: message.name} if told else {})
        return []

    patch.setattr(bulk.BulkWork, "receive", receive)


BUILDS = (
    Broken(divided_by_nothing, draw, "raised", 358),
    Broken(vectors_of_no_mask, draw, "raised", 10),
)
