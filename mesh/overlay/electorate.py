"""Who may sit on committees in the next epoch, and whether a proposed list of them is fair.

Invariant: an electorate holds certified gateways only, at most MAX_GATEWAYS.
"""

from __future__ import annotations

from dataclasses import replace

from mesh.overlay.epoch_record import MAX_GATEWAYS, MIN_SESSION_GATEWAYS, EpochRecord
from mesh.overlay.sortition import ranked
from mesh.overlay.view import View
from protocols.identifiers import PartyId


def next_gateways(head: EpochRecord, view: View) -> tuple[PartyId, ...]:
    """G_{e+1}: alive gateways, sorted; those the beacon draws if there are too many."""
    alive = view.alive_gateways
    if len(alive) <= MAX_GATEWAYS:
        return alive
    return tuple(sorted(ranked(head, "electorate", alive)[:MAX_GATEWAYS]))


def widened(record: EpochRecord, head: EpochRecord, view: View) -> EpochRecord:
    """The record with those of G_e that are alive and that its intent left out, as many as there is room for:
    they came back since."""
    back = [p for p in view.alive_gateways if p in head.gateways and p not in record.gateways]
    room = MAX_GATEWAYS - len(record.gateways)
    gateways = tuple(sorted((*record.gateways, *ranked(head, "electorate", back)[:room])))
    return replace(record, intent=replace(record.intent, gateways=gateways))


def is_widened(record: EpochRecord, base: EpochRecord, head: EpochRecord, view: View) -> bool:
    """Whether `record` is `base`, but for more members of G_e, alive as far as we know."""
    more = set(record.gateways) - set(base.gateways)
    same = replace(record, intent=replace(record.intent, gateways=base.gateways)) == base
    fit = all(party in head.gateways and view.is_alive(party) for party in more)
    return same and fit and set(base.gateways) <= set(record.gateways)


def can_run_beacon(head: EpochRecord, view: View) -> bool:
    """Whether enough of G_e are alive for a beacon session."""
    return sum(view.is_alive(party) for party in head.gateways) >= MIN_SESSION_GATEWAYS


def is_fair(record: EpochRecord, head: EpochRecord, view: View, steady_s: float) -> bool:
    """Everybody in it is a certified gateway, and no gateway of G_e with whom we have been in contact for
    `steady_s` without a break was left out. Newcomers that are left out come in with the next proposer."""
    for party in record.gateways:
        member = view.by_party.get(party)
        if member is None or not member.certificate.gateway:
            return False
    if len(record.gateways) == MAX_GATEWAYS:
        return True
    for party in set(head.gateways) - set(record.gateways):
        member = view.by_party.get(party)
        if member is not None and view.is_linked(party) and view.now - member.since_s > steady_s:
            return False
    return True


def helpers(head: EpochRecord, view: View) -> tuple[PartyId, ...]:
    """Whoever is linked from outside G_e when G_e can run no beacon: the operator may be among them.

    It came back, or was never one of G_e, and only its own proposal can bring the chain further. It has to
    know the round.
    """
    if can_run_beacon(head, view):
        return ()
    return tuple(
        m.party for m in view.members if m.linked and m.party != view.me and m.party not in head.gateways
    )
