"""Enter libp2p's packages without running their initialisers, so that only the parts we use are loaded.

`import libp2p` runs package initialisers that load every transport there is (QUIC, WebRTC, WebSocket,
mDNS, metrics): 1,256 modules, 58 MB, 1.3 s of CPU, and a logging setup. We need its upgrader, Noise, Yamux
and private-network key: about half the modules, 26 MB, 0.5 s. So the packages on the way are first entered
as lazy ones: their path is known, their initialiser runs when somebody asks for a name that only it
defines. Whoever needs the whole library still gets it: `from libp2p import new_host` works as ever.

Invariant: importing this module starts no thread, opens no file, installs no log handler; a process may
fork after it.

Source: PEP 562 (module __getattr__); measured on libp2p 0.8.1.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from types import ModuleType
from typing import Any

LAZY_PACKAGES = (
    "libp2p",
    "libp2p.transport",
    "libp2p.transport.quic",
    "libp2p.security",
    "libp2p.network",
    "libp2p.pubsub",
    "libp2p.tools",
    "libp2p.tools.anyio_service",
)


def enter_lazily(name: str) -> None:
    """Make package `name` importable without running its initialiser; no-op if it is loaded already.

    Raises ModuleNotFoundError if there is no such package.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no package {name}", name=name)
    loader = spec.loader
    package = ModuleType(name)
    package.__spec__ = spec
    package.__file__ = spec.origin
    package.__package__ = name
    package.__path__ = list(spec.submodule_search_locations)

    def complete(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        package.__dict__.pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, attribute)

    package.__dict__["__getattr__"] = complete
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)


def silence() -> None:
    """Keep libp2p's chatter, which includes peers' addresses and stack traces, out of our logs."""
    chatter = logging.getLogger("libp2p")
    chatter.handlers[:] = [logging.NullHandler()]
    chatter.setLevel(logging.CRITICAL + 1)
    chatter.propagate = False


for _name in LAZY_PACKAGES:
    enter_lazily(_name)
silence()
