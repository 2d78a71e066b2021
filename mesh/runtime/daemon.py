"""The process of a node: open the folder, listen, join if a ticket waits, serve until told to stop.

`run` is the synchronous entry for `coppice up`; `serve` the same for callers that have a trio loop.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
import trio

from mesh.api.server import serve as serve_api
from mesh.data.room import DataRoom
from mesh.net.profile import fitting
from mesh.net.transport import Tap, Transport
from mesh.overlay.epoch_record import EpochRecord
from mesh.runtime import heap, keystore
from mesh.runtime import identity as identities
from mesh.runtime.home import Home
from mesh.runtime.identity import NodeIdentity
from mesh.runtime.joining.admissions import Admissions
from mesh.runtime.joining.gatekeeper import Gatekeeper
from mesh.runtime.joining.joiner import Joiner
from mesh.runtime.joining.service import SwitchingService
from mesh.runtime.journal import Journal
from mesh.runtime.node import Node
from mesh.runtime.postman import Postman
from mesh.runtime.service import MemberService
from mesh.settings import Config
from protocols.errors import MeshError

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("coppice.daemon")

GOODBYE_S = 1.5
ANSWER_S = 0.05
"""For the answer to `down` to leave before its socket closes."""


def run(home: Home, config: Config, *, ready: Callable[[], None], tap: Tap | None = None) -> int:
    """Serve until SIGINT, SIGTERM or `down`; 0. Raises MeshError for what keeps the node from running."""
    failures: list[MeshError] = []
    heap.share_arenas()

    async def main() -> None:
        try:
            await serve(home, config, ready=ready, tap=tap)
        except* MeshError as group:
            failures.append(_first(group))
        except* KeyboardInterrupt:
            log.info("interrupted while starting")  # before the signal receiver listens

    trio.run(main)
    if failures:
        raise failures[0]
    return 0


async def serve(home: Home, config: Config, *, ready: Callable[[], None], tap: Tap | None = None) -> None:
    """Run a node; `ready` is called once the control API answers."""
    keys = keystore.load(home, keystore.ask_passphrase)
    identity = identities.load(home, config, keys)
    journal = Journal(home.journal, keys.identity.reveal())
    async with trio.open_nursery() as outer:
        await outer.start(journal.run)  # ends last: sessions write their end on the way out
        await _serve(home, config, identity, journal, ready, tap)
        outer.cancel_scope.cancel()


async def _serve(
    home: Home,
    config: Config,
    identity: NodeIdentity,
    journal: Journal,
    ready: Callable[[], None],
    tap: Tap | None,
) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_on_signal, stop)  # before modules load that may swallow an interrupt
        service = SwitchingService(config, identity, stop)
        nursery.start_soon(_serve_until, stop, service, nursery.cancel_scope)
        admissions = Admissions(identity, config, journal)
        gate = Gatekeeper(identity.mesh, identity.certificate, lambda: admissions.admits_guests)
        transport = _transport(identity, config, gate, tap)
        await nursery.start(transport.run)
        if config.mdns:
            nursery.start_soon(_discover, identity, transport, service)
        postman = Postman(transport, identity.keys.identity.reveal(), identity.mesh.mesh)
        await nursery.start(postman.run)
        await nursery.start(serve_api, service, home)
        head: EpochRecord | None = None
        if identity.ticket is not None:
            joiner = Joiner(home, identity, journal, transport, gate, postman)
            service.joining = joiner
            ready()
            identity, head = await joiner.run()
        node = Node(
            identity, config, journal, DataRoom(home.root), transport, gate, postman, admissions, head
        )
        await nursery.start(node.run)
        service.member = MemberService(node, nursery, stop)
        if head is None:
            ready()
        heap.settle()
        nursery.start_soon(heap.keep_trim)


async def _discover(identity: NodeIdentity, transport: Transport, service: SwitchingService) -> None:
    """Tell whoever is in charge, joiner or member, whom multicast DNS finds on the local network."""
    from mesh.net.discovery import Discovery

    discovery = Discovery(identity.party, identity.network_key, transport.addresses())
    if not discovery.worthwhile:
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discovery.run)
        async for candidate in discovery.candidates:
            service.sighted(candidate.party, candidate.addresses)


def _transport(identity: NodeIdentity, config: Config, gate: Gatekeeper, tap: Tap | None) -> Transport:
    from mesh.net.libp2p_transport import Libp2pTransport

    profile = fitting(
        heartbeat_s=config.heartbeat_s,
        detect_s=config.detect_s,
        max_links=config.max_links,
        max_guests=config.max_guests,
    )
    seed = identity.keys.identity.reveal()
    return Libp2pTransport(seed, identity.network_key, config.listen, gate, profile, tap)


async def _stop_on_signal(
    stop: trio.Event, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            stop.set()


async def _serve_until(stop: trio.Event, service: SwitchingService, scope: trio.CancelScope) -> None:
    await stop.wait()
    if service.member is not None:
        with trio.move_on_after(GOODBYE_S):
            await service.member.goodbye()
    await trio.sleep(ANSWER_S)
    scope.cancel()


def _first(group: BaseExceptionGroup[MeshError]) -> MeshError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MeshError)
    return error
