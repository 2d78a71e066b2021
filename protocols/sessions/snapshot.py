"""The state of a session machine as bytes, so that nobody need replay what led to it.

The bytes are a graph of plain data (see `object_graph`) of the machine's objects, of the classes in
`state_classes` alone. What whoever restores has, or makes of that, is kept out of it: the party's long-term
keys, the plan, and the first generation of each stage.

A state means something only to the very classes that it was taken from: `layout` names them with their
attributes and code, and `restored` refuses a state of others. Functions outside these classes may change:
they act on the state, they are not part of it.

Invariant: `restored(taken(state))` behaves as `state` would. Tested by crashing sessions at every effect with
a snapshot at every step (tests/scenarios/test_session_restarts).
"""

from __future__ import annotations

import types
from functools import cache
from typing import Any

from protocols.errors import LocalMisuse, UnexpectedMessage
from protocols.identifiers import Digest
from protocols.sessions.assembly import Assembly, Source, first_generation
from protocols.sessions.graph_reader import read
from protocols.sessions.graph_writer import write
from protocols.sessions.keys import PartyKeys
from protocols.sessions.object_graph import Unstorable
from protocols.sessions.plan import Plan, Stage
from protocols.sessions.state_classes import STATE_CLASSES
from protocols.wire.digest import digest

_MADE_AGAIN: set[type] = {Plan, Stage, Assembly, Source}
"""Classes of what is given: a state goes on with these, too."""
_FIX = "nothing need be done: this node takes no part in this session any more"
_KEYS, _PLAN, _STAGES = 0, 1, 2
"""Numbers of what is given; the first generation of stage i has _STAGES + i."""


def taken(state: object, plan: Plan, keys: PartyKeys) -> tuple[bytes, Digest]:
    """The bytes of `state`, in which `plan` and `keys` are left out, and the layout of its classes.

    Raises LocalMisuse if it holds what no state may.
    """
    given = {id(keys): _KEYS, id(plan): _PLAN}
    given |= {id(one): _STAGES + one.stage for one in plan.derived.values() if isinstance(one, Assembly)}
    try:
        body, classes = write(state, given, STATE_CLASSES)
    except Unstorable as why:
        raise LocalMisuse(f"a state cannot be stored: {why}", fix="see state_classes, NOT_STORED") from None
    return body, layout(frozenset(classes | _MADE_AGAIN))


def restored(body: bytes, form: Digest, plan: Plan, keys: PartyKeys) -> Any:
    """The state. Raises LocalMisuse if it was taken from other classes than we have."""

    def given(number: int) -> object:
        return (keys, plan)[number] if number < _STAGES else first_generation(plan, number - _STAGES)

    try:
        state, classes = read(body, given, STATE_CLASSES)
    except (Unstorable, UnexpectedMessage) as why:
        raise LocalMisuse(f"the journal has a state of another version: {why}", fix=_FIX) from None
    if layout(frozenset(classes | _MADE_AGAIN)) != form:
        raise LocalMisuse("the journal has a state of another version: its classes differ", fix=_FIX)
    return state


@cache
def layout(classes: frozenset[type]) -> Digest:
    """Names classes by their attributes and code."""
    return digest("state layout", *sorted(map(_layout_of, classes)))


@cache
def _layout_of(cls: type) -> bytes:
    known = [cls.__module__, cls.__qualname__, *(base.__qualname__ for base in cls.__mro__)]
    known += [f"{name}: {kind}" for name, kind in vars(cls).get("__annotations__", {}).items()]
    code = b""
    for name, value in sorted(vars(cls).items()):
        inner = getattr(value, "fget", None) or getattr(value, "func", None) or value
        if isinstance(inner := getattr(inner, "__func__", inner), types.FunctionType):
            known.append(" ".join((name, *inner.__code__.co_names, *inner.__code__.co_varnames)))
            code += inner.__code__.co_code
    return digest("class layout", "\n".join(known).encode(), code)
