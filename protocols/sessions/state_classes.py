"""The classes that the state of a session machine is made of.

Only these are stored and made again: those that the modules below define, messages and records among them.
A machine's class in another module must be added here; the first state that holds one says so.
"""

from __future__ import annotations

from protocols import machine
from protocols.sessions import (
    abort_messages,
    aborting,
    adder,
    assembly,
    audit,
    auditor,
    bulk,
    bulk_messages,
    collecting,
    composing,
    counting,
    dealer,
    delivery,
    early,
    events,
    excerpt,
    handing,
    handover,
    initiator,
    ledger,
    messages,
    offers,
    opening,
    parcels,
    party,
    plan,
    plan_tree,
    posts,
    progress,
    records,
    relaying,
    rootwork,
    roster_tree,
    succession,
    vectors,
    witness,
)
from protocols.sessions.excerpt import KnownStages, PartialPlan
from protocols.sessions.object_graph import Register

_MODULES = (
    machine, abort_messages, aborting, adder, assembly, audit, auditor, bulk, bulk_messages, collecting,
    composing, counting, dealer, delivery, early, events, excerpt, handing, handover, initiator, ledger,
    messages, offers, opening, parcels, party, plan, plan_tree, posts, progress, records, relaying,
    roster_tree, rootwork, succession, vectors, witness,
)  # fmt: skip
_NEVER = (PartialPlan, KnownStages)
"""Whoever restores has the excerpt of a plan: it is given."""

STATE_CLASSES = Register(
    [
        cls
        for module in _MODULES
        for cls in vars(module).values()
        if isinstance(cls, type) and cls.__module__ == module.__name__ and cls not in _NEVER
    ]
)
