"""One direction of an emulated link: when does a packet arrive, or is it lost?

A packet waits until the ones before it are on the wire (a token bucket that holds one packet, refilled at
`mbit`), then travels `latency_ms` plus a random part of `jitter_ms`. What would wait longer than `queue_ms`
is dropped at the tail, as a real router does; `loss` drops a fraction at random.

Source: the model of Linux netem with a rate limit. Invariant: packets of a direction arrive in the order in
which they were sent; the same seed and the same arrivals give the same fates.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """What a pair of sites has, each way."""

    latency_ms: float = 0.5
    """One way; a round trip takes twice as long."""
    jitter_ms: float = 0.0
    """Uniform from 0 to this is added to each packet."""
    loss: float = 0.0
    mbit: float = 100.0
    queue_ms: float = 200.0

    def round_trip_ms(self) -> float:
        """Mean round trip of a small packet on an idle link."""
        return 2 * (self.latency_ms + self.jitter_ms / 2)


@dataclass(slots=True)
class Counts:
    """What became of the packets of one direction."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    overflowed: int = 0
    cut: int = 0


@dataclass(slots=True)
class Link:
    """One direction. `cuts` counts the reasons to be down: it is up at zero."""

    spec: LinkSpec
    dice: random.Random
    cuts: int = 0
    counts: Counts = field(default_factory=Counts)
    _free_at: float = 0.0
    _last_arrival: float = 0.0

    def send(self, now: float, size_bytes: int) -> float | None:
        """When the packet arrives, on the clock of `now`, or None if it does not."""
        counts, spec = self.counts, self.spec
        if self.cuts:
            counts.cut += 1
            return None
        if spec.loss and self.dice.random() < spec.loss:
            counts.lost += 1
            return None
        begins = max(now, self._free_at)
        if (begins - now) * 1000 > spec.queue_ms:
            counts.overflowed += 1
            return None
        self._free_at = begins + size_bytes * 8 / (spec.mbit * 1e6)
        travel_s = (spec.latency_ms + self.dice.random() * spec.jitter_ms) / 1000
        self._last_arrival = max(self._last_arrival, self._free_at + travel_s)
        counts.packets += 1
        counts.bytes += size_bytes
        return self._last_arrival
