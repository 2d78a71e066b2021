"""Textual addresses ("/ip4/192.0.2.1/tcp/4001") to and from host and port; wildcards made concrete.

Source: multiformats multiaddr, the four forms we use: ip4, ip6, dns4, dns6 over tcp; a trailing
/p2p/NAME is allowed and ignored, because the key is proved by the handshake, not by the address.

Invariant: an address we publish names one interface; nobody can dial a wildcard.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from protocols.errors import ConfigError

FORMS = {"ip4": 4, "ip6": 6, "dns4": 4, "dns6": 6, "dns": 0}


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of a textual address.

    Raises ConfigError, naming the address, if it is not one of the forms above.
    """
    fields = address.split("/")
    usable = len(fields) in (5, 7) and fields[0] == "" and fields[3] == "tcp" and fields[1] in FORMS
    if usable and len(fields) == 7:
        usable = fields[5] == "p2p"
    if usable:
        host, port = fields[2], fields[4]
        if port.isascii() and port.isdigit() and int(port) < 65536 and _host_fits(fields[1], host):
            return host, int(port)
    raise ConfigError(
        f"not an address: {address[:120]!r}", code="C-113", fix="write /ip4/192.168.1.5/tcp/4001"
    )


def _host_fits(form: str, host: str) -> bool:
    if form.startswith("dns"):
        return 0 < len(host) < 254 and all(part and len(part) < 64 for part in host.split("."))
    try:
        return ipaddress.ip_address(host).version == FORMS[form]
    except ValueError:
        return False


def format_address(socket_address: Sequence[object]) -> str:
    """The textual form of what `getsockname` or `getpeername` returned; mapped IPv4 becomes ip4."""
    host, port = str(socket_address[0]).partition("%")[0], socket_address[1]
    number = ipaddress.ip_address(host)
    if isinstance(number, ipaddress.IPv6Address) and number.ipv4_mapped is not None:
        number = number.ipv4_mapped
    return f"/ip{number.version}/{number}/tcp/{port}"


def expand_wildcards(addresses: Iterable[str], interfaces: Iterable[str]) -> tuple[str, ...]:
    """Replace 0.0.0.0 and :: by the interface addresses of that family, loopback if there is no other."""
    numbers = [ipaddress.ip_address(address) for address in interfaces]
    expanded: dict[str, None] = {}
    for address in addresses:
        host, port = parse_address(address)
        try:
            wildcard = ipaddress.ip_address(host)
        except ValueError:
            wildcard = None
        if wildcard is None or not wildcard.is_unspecified:
            expanded[address] = None
            continue
        family = [number for number in numbers if number.version == wildcard.version]
        reachable = [number for number in family if not (number.is_loopback or number.is_link_local)]
        for number in reachable or [number for number in family if number.is_loopback]:
            expanded[f"/ip{number.version}/{number}/tcp/{port}"] = None
    return tuple(expanded)


def is_loopback(address: str) -> bool:
    """Whether only this machine can dial the address."""
    host, _ = parse_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
