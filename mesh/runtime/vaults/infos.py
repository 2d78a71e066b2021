"""Vaults as the control API shows them."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.api.shapes import HolderInfo, VaultInfo
from mesh.data.vault import HeldRow, OwnRow
from mesh.overlay.view import View
from mesh.runtime.vaults.finder import Facts
from protocols.identifiers import PartyId
from protocols.vault.messages import VaultErased
from protocols.vault.standing import Standing
from protocols.vault.terms import columns
from protocols.wire import codec


def of_own(
    view: View,
    row: OwnRow,
    standing: Standing,
    confirmed: Mapping[bytes, bytes],
    silent: Mapping[PartyId, str],
    facts: Facts | None = None,
) -> VaultInfo:
    """A vault of ours: `confirmed` maps parties to their signed word that they erased it."""
    erasing = row.proof is not None
    places = []
    for party in standing.everyone if erasing else standing.members:
        state, note = "holds", silent.get(party, "")
        if party in confirmed:
            places.append(_erased(view.name(party), party, confirmed[party]))
            continue
        if note:
            state = "silent"
        elif not view.is_alive(party):
            state = "away"
        places.append(HolderInfo(view.name(party), party.hex(), state, note))
    left = [place.name for place in places if place.state != "erased"]
    state = "shared" if not erasing else "erasing" if left else "erased"
    ends = standing.terms.terms.consent.expires_s
    if not erasing and ends and view.now >= ends:
        state = "expired"
    renewed, uses = (facts.renewed, facts.uses) if facts else (None, None)
    return _info(view, standing, "owner", state, row.since, renewed, uses, tuple(places))


def _erased(name: str, party: PartyId, receipt: bytes) -> HolderInfo:
    at = float(codec.decode(VaultErased, receipt).erased_s)
    return HolderInfo(name, party.hex(), "erased", erased_at=at, receipt=receipt.hex())


def of_held(view: View, row: HeldRow, standing: Standing, uses: int) -> VaultInfo:
    """A vault of which we hold a share."""
    places = tuple(
        HolderInfo(
            view.name(party), party.hex(), "holds" if party == view.me or view.is_alive(party) else "away"
        )
        for party in standing.members
    )
    return _info(view, standing, "holder", "held", row.since, row.renewed, uses, places)


def _info(
    view: View,
    standing: Standing,
    role: str,
    state: str,
    since: float,
    renewed: float | None,
    uses: int | None,
    holders: tuple[HolderInfo, ...],
) -> VaultInfo:
    terms = standing.terms.terms
    return VaultInfo(
        name=terms.name,
        vault=terms.vault.hex(),
        role=role,
        owner=view.name(terms.owner),
        state=state,
        threshold=terms.threshold,
        generation=standing.generation,
        holders=holders,
        columns=tuple(column for column in columns(terms) if column != "*"),
        share_bytes=terms.share_bytes,
        deposited_at=since,
        renewed_at=renewed,
        uses=uses,
        max_uses=terms.consent.max_uses,
        expires_at=float(terms.consent.expires_s) or None,
    )
