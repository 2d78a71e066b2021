"""Words for the trace of a simulated session."""

from __future__ import annotations

from typing import Any

from protocols.programs.recipient import ProgramOpened
from protocols.sessions import events


def summary(outcome: object) -> str:
    """An outcome in one line."""
    if isinstance(outcome, events.Opened):
        return f"opened {outcome.total.tolist()} over {len(outcome.contributors)} sites"
    if isinstance(outcome, events.Aborted):
        return f"aborted {outcome.code} {outcome.reason} definite={outcome.definite}"
    return "no outcome"


def ending_of(outcome: object) -> str:
    """How a session or program ended for its initiator, to be counted."""
    if isinstance(outcome, events.Opened | ProgramOpened):
        return "opened"
    if isinstance(outcome, events.Aborted):
        return f"{'definite' if outcome.definite else 'open'} {outcome.code}"
    return "initiator gone"


def place(message: Any) -> str:
    """Stage and generation that a message is about, and what it counts."""
    holders: tuple[Any, ...] = (message, getattr(message, "roster", None), getattr(message, "dealing", None))
    for holder in holders:
        if hasattr(holder, "stage"):
            return f" stage {holder.stage}.{getattr(holder, 'generation', 0)}{_size(message)}"
    return ""


def _size(message: Any) -> str:
    contributors = getattr(getattr(message, "roster", None), "contributors", None)
    if contributors is not None:
        return f", {len(contributors)} contributions"
    entries = getattr(message, "entries", None)
    return f", {len(entries)} dealings" if entries is not None else ""
