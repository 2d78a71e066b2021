"""The tree of this epoch as this node sees it: clusters, their committees and sub-aggregators, roles.

Invariant: read from one view and the epoch's record alone; nothing here is kept or sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.api.shapes import ClusterInfo
from mesh.overlay import sortition
from mesh.overlay.clustering import clusters
from mesh.overlay.planner import leaf_labels, own_site
from mesh.overlay.view import View
from mesh.runtime.node import Node
from protocols.errors import MeshError
from protocols.identifiers import PartyId


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster or the root with its parties."""

    shape: ClusterInfo
    parties: tuple[PartyId, ...]
    seats: tuple[PartyId, ...]
    adder: PartyId | None

    @property
    def label(self) -> str:
        """Of the cluster, or root."""
        return self.shape.label


def leaves(node: Node, view: View) -> list[Place]:
    """All clusters."""
    groups = clusters(view, node.limits.sizes)
    sites = {m.party: m.certificate.site for m in view.members}
    labels = leaf_labels(groups, sites)
    return [
        _place(node, view, label, own_site(group, sites), group)
        for label, group in zip(labels, groups, strict=True)
    ]


def root(node: Node, view: View) -> Place:
    """The committee above the clusters."""
    return _place(node, view, "root", None, ())


def roles(node: Node, view: View) -> dict[PartyId, tuple[str, ...]]:
    """What each member does in this epoch, in words."""
    places = leaves(node, view)
    if len(places) > 1:
        places.append(root(node, view))
    found: dict[PartyId, list[str]] = {}
    for place in places:
        if place.adder is not None:
            found.setdefault(place.adder, []).append(f"sub-aggregator {place.label}")
        for party in place.seats:
            found.setdefault(party, []).append(f"committee {place.label}")
    return {party: tuple(roles) for party, roles in found.items()}


def health(alive: int, members: int, groups: int) -> str:
    """One line about who is here."""
    if alive < sortition.MIN_COMMITTEE:
        return f"{alive} of {members} members are here; private computation needs {sortition.MIN_COMMITTEE}"
    away = f", {members - alive} away" if alive < members else ""
    return f"{alive} members here{away}, {groups} clusters"


def _place(node: Node, view: View, label: str, site: str | None, group: tuple[PartyId, ...]) -> Place:
    keeper = node.overlay.keeper
    certificates = {m.party: m.certificate for m in view.members}
    order = [p for p in sortition.seat_order(keeper.record, label, site, certificates) if view.is_alive(p)]
    try:
        n, t = sortition.committee_size(len(order), node.limits.committee)
    except MeshError:
        n, t = 0, 0
    adders = [p for p in sortition.adder_order(keeper.standings, label, group) if view.is_alive(p)]
    adder = adders[0] if adders else None
    names = tuple(view.name(party) for party in order[:n])
    members = tuple(view.name(party) for party in group)
    return Place(
        ClusterInfo(label, view.name(adder) if adder else "", names, t, members),
        group,
        tuple(order[:n]),
        adder,
    )
