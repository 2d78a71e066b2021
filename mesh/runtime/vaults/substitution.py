"""Who takes the seats of a vault's holders that the mesh has given up.

Substitutes are the next gateways by a rank that vault and generation fix, so that all who see the same
members want the same seats.
"""

from __future__ import annotations

from functools import partial

from mesh.overlay.view import Status, View
from protocols.identifiers import PartyId
from protocols.sessions.plan import Seat
from protocols.vault.standing import MAX_SUCCESSIONS, Standing
from protocols.wire.digest import digest


def next_seats(view: View, standing: Standing) -> tuple[Seat, ...]:
    """The seats with those that the mesh has given up replaced by the next gateways in rank."""
    taken = set(standing.members)
    gone = [party for party in standing.members if not _stays(view, party)]
    if not gone or len(standing.successions) >= MAX_SUCCESSIONS:
        return standing.seats
    fit = [
        party for party in view.alive_gateways if party not in taken and party != standing.terms.terms.owner
    ]
    rank = partial(digest, "vault rank", standing.vault, standing.generation.to_bytes(4, "big"))
    spare = sorted(fit, key=lambda party: rank(party))
    seats = []
    for seat in standing.seats:
        if seat.party in gone and spare:
            party = spare.pop(0)
            seats.append(Seat(party, view.by_party[party].certificate.sealing_key))
        else:
            seats.append(seat)
    return tuple(seats)


def _stays(view: View, party: PartyId) -> bool:
    member = view.by_party.get(party)
    return member is not None and member.status is not Status.LEFT
