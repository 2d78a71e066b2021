"""`invite`, `join`, `requests`: how a device becomes a member."""

from __future__ import annotations

import sys
import time
from typing import Annotated

from cyclopts import Parameter

from mesh.api import shapes
from mesh.api.outcome import NodeUnreachable
from mesh.cli.options import COMMON, Common
from mesh.cli.output import table
from mesh.runtime.home import Home
from protocols.errors import ConfigError, LocalMisuse


def invite(
    *,
    expires: Annotated[str | None, Parameter(help="Lifetime such as 30m, 24h, 7d.")] = None,
    confirm: Annotated[
        bool | None, Parameter(help="Wait for `requests accept` before the joiner becomes a member.")
    ] = None,
    qr: Annotated[
        bool, Parameter(help="Draw the ticket for a phone or a second machine.", negative="")
    ] = False,
    common: Common = COMMON,
) -> None:
    """Make a single-use ticket. Hand it over privately: whoever holds it may join until it expires."""
    spec = shapes.InviteSpec(None if expires is None else _duration_s(expires), confirm)
    answer = common.client.invite(spec)
    if qr:
        import segno

        segno.make(answer.ticket.upper(), error="l").terminal(out=sys.stderr, compact=True)
    common.output.say(
        f"single use · valid {answer.expires_s / 3600:.3g} h"
        + (" · needs your word: coppice requests list" if answer.confirm else "")
    )
    common.output.show(answer, answer.ticket)


def join(
    ticket: Annotated[str, Parameter(help="The ticket, or - to read it from standard input.")],
    *,
    common: Common = COMMON,
) -> None:
    """Join a mesh with a ticket, now if the node is up, else when it comes up."""
    text = (sys.stdin.read(16 * 1024) if ticket == "-" else ticket).strip()
    try:
        answer = common.client.join(shapes.JoinSpec(text))
    except NodeUnreachable:
        answer = _store(common.folder, text)
        suffix = f" --home {common.folder.root}" if common.home else ""
        common.output.show(answer, f"✓ the ticket is good · Next: coppice up --detach{suffix}")
        return
    lines = f"{answer.state}" + (f" · inviter {answer.inviter[:8]}" if answer.inviter else "")
    if answer.phrase:
        lines += f"\ncompare this phrase with the inviter's: {answer.phrase}"
    common.output.show(answer, lines)


def requests_list(*, common: Common = COMMON) -> None:
    """List what waits for your word."""
    answer = common.client.requests()
    rows = [(item.id, item.kind, item.state, item.who, item.what, item.phrase) for item in answer]
    text = table(("ID", "KIND", "STATE", "WHO", "WHAT", "PHRASE"), rows, empty="nothing waits for you")
    common.output.show_all("requests", answer, text)


def requests_show(request: str, *, common: Common = COMMON) -> None:
    """Show one request."""
    found = next((item for item in common.client.requests() if item.id == request), None)
    if found is None:
        raise LocalMisuse(f"there is no request {request}", code="C-404", fix="see: coppice requests list")
    common.output.show(found, _request_text(found))


def requests_accept(request: str, *, common: Common = COMMON) -> None:
    """Let a device join. Compare the phrase first."""
    _answer(request, shapes.AnswerSpec("accept"), common)


def requests_approve(request: str, *, common: Common = COMMON) -> None:
    """Allow one job on your data; any change to it asks again."""
    _answer(request, shapes.AnswerSpec("approve"), common)


def requests_deny(request: str, *, reason: str = "", common: Common = COMMON) -> None:
    """Say no; the reason is told to whoever asked."""
    _answer(request, shapes.AnswerSpec("deny", reason), common)


def _answer(request: str, spec: shapes.AnswerSpec, common: Common) -> None:
    answer = common.client.answer(request, spec)
    common.output.show(answer, _request_text(answer))


def _request_text(item: shapes.RequestInfo) -> str:
    text = f"{item.id} · {item.kind} · {item.state} · {item.who}: {item.what}"
    return text + (f"\nphrase: {item.phrase}" if item.phrase else "")


def _store(home: Home, text: str) -> shapes.JoinStatus:
    """Check a ticket and keep it in the home for `up`. Raises ConfigError, ProtocolError."""
    from mesh.overlay import ticket as tickets

    home.require()
    ticket = tickets.verify(tickets.from_text(text), time.time())
    with home.lock("join"):
        mesh = home.mesh()
        if mesh is not None and mesh.mesh == bytes(ticket.identity.mesh).hex():
            raise ConfigError(
                f"{home.root} is a member of this very mesh already",
                code="C-131",
                fix="start it: coppice up --detach; the ticket is still unused",
            )
        if mesh is not None and (mesh.members > 1 or not mesh.founder):
            raise ConfigError(
                f"{home.root} belongs to another mesh ({mesh.mesh[:8]}, {mesh.members} members)",
                code="C-130",
                fix="join with a new folder: coppice init --home NEW; coppice join TICKET --home NEW",
            )
        home.save_pending_join(text)
    return shapes.JoinStatus("waiting", inviter=ticket.inviter.hex())


def _duration_s(text: str) -> float:
    """Seconds of "30m", "24h", "7d" or plain seconds. Raises ConfigError."""
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(text[-1:].lower())
    number = text[:-1] if unit is not None else text
    try:
        seconds = float(number) * (unit or 1)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 30 * 86_400:
        raise ConfigError(
            f"{text!r} is not a lifetime", code="C-101", fix="write 30m, 24h or 7d; at most 30 days"
        )
    return seconds
