"""What pure functions of a session once gave, kept for the next session that asks the same.

Simulated sessions differ in what goes wrong, not in their numbers: seeds share a few plans, keys and random
seeds (`mesh_plan`), so most dealings, openings and accepted shares were computed before. Each function here
gives what the one it stands in for gives for equal arguments, because that one is a function of its
arguments alone. A dealer that cheats deals through bent functions, `afresh`.

Invariant: `forget` empties everything; `runner` calls it before each run, so no broken build of the
protocol, nor a plan that one of them changed, is remembered in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.identifiers import Digest
from protocols.sessions import dealing
from protocols.sessions.assembly import Assembly
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import NO_VECTOR, Certificate, Complaint, Deal, Part
from protocols.sharing import robust

MOST: Final = 1 << 16
_kept: dict[tuple[Any, ...], Any] = {}
_bent: list[bool] = []
_deal: Final = dealing.deal
_accept: Final = dealing.accept
_masks: Final = dealing.random_masks
_open_vectors: Final = robust.open_vectors


def forget() -> None:
    """Start from nothing."""
    _kept.clear()


def keep(key: tuple[Any, ...], value: Any) -> Any:
    """Remember `value`, within bounds."""
    if len(_kept) >= MOST:
        _kept.clear()
    _kept[key] = value
    return value


def known(key: tuple[Any, ...]) -> Any:
    """What was kept under `key`, or None."""
    return _kept.get(key)


@contextmanager
def afresh() -> Iterator[None]:
    """Deal from nothing in the body of a `with` statement: somebody bends what dealing rests on."""
    _bent.append(True)
    try:
        yield
    finally:
        _bent.pop()


def _frozen(elements: Elements) -> Elements:
    elements.flags.writeable = False
    return elements


def random_masks(seed: bytes, assembly: Assembly) -> Elements:
    """As `dealing.random_masks`."""
    key = ("masks", seed, assembly.session)
    masks: Elements | None = _kept.get(key)
    return keep(key, _frozen(_masks(seed, assembly))) if masks is None else masks


def deal(
    keys: PartyKeys,
    assembly: Assembly,
    vector: Elements,
    seed: bytes,
    source: Digest,
    certificate: Certificate | None = None,
    masked: Digest = NO_VECTOR,
) -> Deal:
    """As `dealing.deal`."""
    arguments = (keys, assembly, vector, seed, source, certificate, masked)
    if _bent:
        return _deal(*arguments)
    place = (keys.party, assembly.session, assembly.stage, assembly.generation)
    key = ("deal", *place, _seats(assembly), vector.tobytes(), seed, source, masked)
    made = _kept.get(key)
    if made is None:
        made = keep(key, _deal(*arguments))
    return Deal(made.dealing, made.sealed, certificate)


def _seats(assembly: Assembly) -> Any:
    """A later generation's seats are not in its session's id."""
    return assembly.members if assembly.generation else None


def accept(keys: PartyKeys, assembly: Assembly, part: Part) -> Elements | Complaint:
    """As `dealing.accept`; complaints are made anew."""
    name = dealing.dealing_digest(assembly, part.dealing)
    key = ("accept", keys.party, assembly.seat_of(keys.party), assembly.session, name, part.sealed)
    share: Elements | None = _kept.get(key)
    if share is not None:
        return share
    verdict = _accept(keys, assembly, part)
    return verdict if isinstance(verdict, Complaint) else keep(key, _frozen(verdict))


def open_vectors(
    points: Sequence[int] | Elements, shares: Elements, t: int, xof: Xof
) -> tuple[Elements, tuple[int, ...]]:
    """As `robust.open_vectors`; failures are found anew."""
    key = ("open", tuple(points), shares.tobytes(), t, xof._key)
    opened: tuple[Elements, tuple[int, ...]] | None = _kept.get(key)
    if opened is None:
        total, liars = _open_vectors(points, shares, t, xof)
        opened = keep(key, (_frozen(total), liars))
    return opened


REPLACED: Final[tuple[tuple[object, str, Callable[..., object]], ...]] = (
    (dealing, "random_masks", random_masks),
    (dealing, "deal", deal),
    (dealing, "accept", accept),
    (robust, "open_vectors", open_vectors),
)
