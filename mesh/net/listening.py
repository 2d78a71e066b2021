"""Sockets that listen: explicit, exclusive, and complained about in words.

A used port is an error here (libp2p binds with SO_REUSEPORT and shares it silently). Wildcards are bound
as given and published as the interfaces' addresses.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence

import ifaddr
import trio

from mesh.net.addresses import expand_wildcards, format_address, parse_address
from protocols.errors import ConfigError

BACKLOG = 64


async def listen_on(addresses: Sequence[str]) -> list[trio.SocketListener]:
    """One listener an address. Raises ConfigError naming the address and the fix; then none is open."""
    listeners: list[trio.SocketListener] = []
    try:
        for address in addresses:
            listeners.append(_bind(address))
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    await trio.lowlevel.checkpoint()
    return listeners


def _bind(address: str) -> trio.SocketListener:
    host, port = parse_address(address)
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        raise ConfigError(
            f"cannot listen on the name in {address}", code="C-113", fix="give the interface's number"
        ) from None
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _bind_error(error, address, port) from None
    sock.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _bind_error(error: OSError, address: str, port: int) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"port {port} is in use: cannot listen on {address}",
            code="C-111",
            fix="stop the other program, or set net.listen to another port (0 takes a free one)",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(
            f"this machine does not have the address in {address}",
            code="C-111",
            fix="set net.listen to an address that `ip address` shows, or to /ip4/0.0.0.0/tcp/PORT",
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"not allowed to listen on {address}", code="C-111", fix="set net.listen to a port from 1024 up"
        )
    return ConfigError(f"cannot listen on {address}: {error.strerror}", code="C-111", fix="check net.listen")


def published(listeners: Sequence[trio.SocketListener]) -> tuple[str, ...]:
    """Where others can reach these listeners, wildcards expanded to the interfaces of now."""
    bound = [format_address(listener.socket.getsockname()) for listener in listeners]
    return expand_wildcards(bound, interface_addresses())


def interface_addresses() -> list[str]:
    """Numbers of this machine's interfaces."""
    found: list[str] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if isinstance(ip.ip, str):
                found.append(ip.ip)
            elif not ipaddress.ip_address(ip.ip[0]).is_link_local:
                found.append(ip.ip[0])
    return found
