"""Free TCP ports of this machine for the processes of a benchmark."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """`count` different ports on which nobody listens now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports
