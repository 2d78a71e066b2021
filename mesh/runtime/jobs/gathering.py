"""A node that has just started does not see the others yet: what is asked of it at once waits a little.

Otherwise a job would be refused for lack of gateways, or of sites, that are there.
"""

from __future__ import annotations

import time

import trio

from mesh.runtime.node import Node

GATHER_S = 4.0
"""After its start a node has links to all that it reaches by then: three heartbeats and a handshake."""
LOOK_S = 0.1


async def gathered(node: Node) -> None:
    """Until all members are there, or this node has run for GATHER_S."""
    with trio.move_on_after(GATHER_S):
        while time.time() < node.started_at + GATHER_S:
            view = node.overlay.view()
            if len(view.members) > 1 and len(view.alive) >= len(view.members):
                return
            await trio.sleep(LOOK_S)
