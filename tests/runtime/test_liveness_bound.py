"""When a peer that fell silent counts as down, to the moment, under a virtual clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from mesh.net import liveness
from mesh.net.profile import LAN, LinkProfile

ONE_WAY_S = 0.001
LAN_ASKED_S = 3.0


@dataclass
class IdleLink:
    """One end of a link over which only signs of life go; the other end lives until `dies_at`."""

    dies_at: float
    phase_s: float
    pipe: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(last_read=0.0, last_write=0.0))
    introduction: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(limited=False))
    since: float = -100.0
    last_ping: float = 0.0
    ended_at: float | None = None

    def beat(self) -> None:
        self.pipe.last_write = trio.current_time()

    def ping(self) -> None:
        self.last_ping = trio.current_time()
        self.beat()

    def end(self, reason: str, *, tell: bool) -> None:
        self.ended_at = trio.current_time()

    async def hear(self, every_s: float) -> None:
        """The other end's beats as they are read here."""
        await trio.sleep(self.phase_s)
        while trio.current_time() < self.dies_at:
            await trio.sleep(ONE_WAY_S)
            self.pipe.last_read = trio.current_time()
            await trio.sleep(every_s - ONE_WAY_S)


async def watched(profile: LinkProfile, links: list[IdleLink], for_s: float) -> None:
    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        for link in links:
            link.pipe.last_read = link.pipe.last_write = began
            link.dies_at += began
            nursery.start_soon(link.hear, profile.heartbeat_s)
        nursery.start_soon(liveness.watch, lambda: [one for one in links if one.ended_at is None], profile)
        await trio.sleep(for_s)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(4))
async def test_a_silent_peer_is_noticed_within_the_bound_whatever_else_goes_on(seed, autojump_clock):
    """Deaths at any moment between beats, among other links whose beats wake the watch shortly before."""
    dice = random.Random(seed)
    links = [IdleLink(dice.uniform(3.0, 9.0), dice.uniform(0.0, LAN.heartbeat_s)) for _ in range(40)]
    await watched(LAN, links, 15.0)
    for link in links:
        assert link.ended_at is not None
        took = link.ended_at - link.dies_at
        assert took <= ONE_WAY_S + LAN.detect_s + 1e-6
        assert took < LAN_ASKED_S
        assert link.ended_at - link.pipe.last_read >= LAN.detect_s - 1e-6


async def test_living_peers_stay(autojump_clock):
    links = [IdleLink(1e9, 0.1 * number) for number in range(8)]
    await watched(LAN, links, 60.0)
    assert all(link.ended_at is None for link in links)


async def test_a_node_that_was_stopped_hears_what_waited_for_it_first(mock_clock, nursery):
    """Nobody is down for silence that was our own; who stays silent is, RESUME_S later."""
    alive, dead = IdleLink(1e9, 0.0), IdleLink(0.0, 0.0)
    links = [alive, dead]
    now = trio.current_time()
    for link in links:
        link.pipe.last_read = link.pipe.last_write = now
    nursery.start_soon(liveness.watch, lambda: [one for one in links if one.ended_at is None], LAN)
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(10.0)
    await trio.testing.wait_all_tasks_blocked()
    assert dead.ended_at is None
    assert alive.ended_at is None
    alive.pipe.last_read = trio.current_time()
    mock_clock.jump(liveness.RESUME_S + 0.01)
    await trio.testing.wait_all_tasks_blocked()
    assert alive.ended_at is None
    assert dead.ended_at is not None
