"""Keeps wanted links up: one task a peer, growing pauses with jitter, the next try at once when it may help.

Addresses are tried in order, the one that worked last first; TCP connects overlap by STAGGER_S so that a
dead address costs that much and not its timeout. No peer store, no blacklist, no sleep before the first try.

Source: RFC 8305 (overlapping connects); AWS "exponential backoff and jitter" for the pauses.
Invariant: at most `parallel_dials` handshakes run; a peer that is linked is not dialled.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import trio

from mesh.net.addresses import parse_address
from mesh.net.profile import LinkProfile
from protocols.errors import ConfigError, TransportError

STAGGER_S = 0.1
CONNECT_S = 3.0


class Pauses:
    """Pauses between tries: doubling, with jitter, so that peers do not retry in step."""

    def __init__(self, profile: LinkProfile) -> None:
        self._first = profile.backoff_first_s
        self._most = profile.backoff_most_s
        self._next = self._first

    def reset(self) -> None:
        """The last try worked."""
        self._next = self._first

    def pause_s(self) -> float:
        """The pause to make now."""
        pause = self._next * random.uniform(0.75, 1.25)  # noqa: S311  (jitter, not a secret)
        self._next = min(2 * self._next, self._most)
        return pause


async def connect(addresses: Sequence[str]) -> tuple[trio.SocketStream, str]:
    """The first TCP connection that works, and its address.

    Raises TransportError with the last reason if none does, or if there are no addresses.
    """
    if not addresses:
        raise TransportError("no address known", code="C-503")
    found: list[tuple[trio.SocketStream, str]] = []
    reasons: list[str] = []

    async def attempt(address: str, scope: trio.CancelScope, failed: trio.Event) -> None:
        try:
            host, port = parse_address(address)
            with trio.fail_after(CONNECT_S):
                stream = await trio.open_tcp_stream(host, port)
        except (OSError, ConfigError, trio.TooSlowError) as error:
            reasons.append(f"{address}: {_reason(error)}")
            failed.set()
            return
        if found:
            await trio.aclose_forcefully(stream)
            return
        found.append((stream, address))
        scope.cancel()

    async with trio.open_nursery() as nursery:
        for address in addresses:
            failed = trio.Event()
            nursery.start_soon(attempt, address, nursery.cancel_scope, failed)
            with trio.move_on_after(STAGGER_S):
                await failed.wait()
    if not found:
        raise TransportError("; ".join(reasons[:3]), code="C-503")
    return found[0]


def _reason(error: BaseException) -> str:
    """Operating-system words without the Python around them."""
    if isinstance(error, trio.TooSlowError):
        return "no answer"
    if isinstance(error, ConfigError):
        return str(error.args[0])
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ExceptionGroup):
            cause = cause.exceptions[0]
            continue
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__
    return "connection failed"
