"""The emulated link by itself, under a clock that the test turns."""

from __future__ import annotations

import random

import pytest

from tools.netlab.links import Link, LinkSpec

PACKET = 1250  # 10,000 bits


def link(**values):
    return Link(LinkSpec(**values), random.Random(7))


def test_a_packet_takes_its_time_on_the_wire_and_on_the_way():
    assert link(latency_ms=20, mbit=10).send(100.0, PACKET) == pytest.approx(100.0 + 0.001 + 0.020)


def test_bandwidth_spaces_packets_and_an_idle_link_saves_nothing_up():
    one = link(latency_ms=5, mbit=10)
    arrivals = [one.send(0.0, PACKET) for _ in range(10)]
    assert arrivals[-1] == pytest.approx(10 * 0.001 + 0.005)
    assert one.send(50.0, PACKET) == pytest.approx(50.0 + 0.001 + 0.005)
    assert one.send(50.0, PACKET) == pytest.approx(50.0 + 0.002 + 0.005)


def test_what_would_wait_too_long_is_dropped_at_the_tail():
    one = link(mbit=10, queue_ms=5)
    fates = [one.send(0.0, PACKET) for _ in range(20)]
    assert [fate is None for fate in fates] == [False] * 6 + [True] * 14
    assert one.counts.overflowed == 14
    assert one.send(0.006, PACKET) is not None


def test_jitter_stays_within_its_bounds_and_never_reorders():
    one = link(latency_ms=20, jitter_ms=30, mbit=1000)
    sent = [number * 0.002 for number in range(500)]
    arrivals = [one.send(at, 100) for at in sent]
    assert arrivals == sorted(arrivals)
    ways = [arrival - at for arrival, at in zip(arrivals, sent, strict=True)]
    assert min(ways) >= 0.020
    assert max(ways) <= 0.0501
    assert max(ways) - min(ways) > 0.02


def test_loss_is_the_fraction_that_was_asked_for_and_the_same_for_the_same_seed():
    one, again = link(loss=0.1, mbit=1000, queue_ms=9e9), link(loss=0.1, mbit=1000, queue_ms=9e9)
    fates = [one.send(0.0, 1) is None for _ in range(5000)]
    assert [again.send(0.0, 1) is None for _ in range(5000)] == fates
    assert 0.08 < sum(fates) / 5000 < 0.12


def test_a_cut_link_carries_nothing_until_every_cut_is_healed():
    one = link()
    one.cuts = 2
    assert one.send(0.0, PACKET) is None
    one.cuts -= 1
    assert one.send(0.0, PACKET) is None
    one.cuts -= 1
    assert one.send(0.0, PACKET) is not None
    assert (one.counts.cut, one.counts.packets) == (2, 1)
