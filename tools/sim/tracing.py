"""Words for the trace of a simulated session."""

from __future__ import annotations

from typing import Any

from protocols.sessions import events


def summary(outcome: object) -> str:
    """An outcome in one line."""
    if isinstance(outcome, events.Opened):
        return f"opened {outcome.total.tolist()} over {len(outcome.contributors)} sites"
    if isinstance(outcome, events.Aborted):
        return f"aborted {outcome.code} {outcome.reason} definite={outcome.definite}"
    return "no outcome"


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
