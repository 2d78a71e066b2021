"""Whether the owner's terms allow a reading: what every holder judges by itself, from its own ledger.

A quorum of holders must consent before any of them sends a share, so the owner's rules hold as long as at
most T holders are dishonest. Two readings under the same seats share an honest holder that knew both, hence
no two of them isolate fewer than `min_sites` owners by their difference. `max_uses` is counted by each
holder: with h = N-T honest ones and quorums of q, of which at least q-T are honest, at most max_uses * h /
(q-T) < 2 max_uses readings happen, and exactly max_uses when all holders are asked, as our requester does.

Limit: a holder that took a seat over knows an earlier reading only if more than T of the old holders report
it, and only the newest. Across a change of seats both rules are therefore weaker: a reading that just q
holders consented to may be unknown to the newcomer and to the honest ones that were not asked.

The same requester asking the same of the same vaults and sites again learns nothing new: it is one use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from protocols.identifiers import PartyId
from protocols.sessions.plan import Query
from protocols.statistics import names
from protocols.vault.messages import Reading
from protocols.vault.terms import Terms, columns, places

ANY_MEMBER = "any-member"
_PARTY_ID = re.compile("[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Use:
    """One reading that this holder consented to."""

    requester: PartyId
    queries: tuple[Query, ...]
    sites: frozenset[bytes]
    """Vaults and live sites in the sum."""


def use_of(reading: Reading) -> Use:
    """What the ledger keeps of a reading."""
    return Use(reading.requester, reading.queries, frozenset((*reading.vaults, *reading.sites)))


def refusal(
    terms: Terms, reading: Reading, requester_name: str, earlier: Iterable[Use], now: float
) -> str | None:
    """`rule: why`, for the requester to read, or None if the terms allow the reading."""
    rules, use = terms.consent, use_of(reading)
    known = tuple(earlier)
    if rules.expires_s and now >= rules.expires_s:
        return "expires: the vault's time is over"
    name = "" if _PARTY_ID.fullmatch(requester_name) else requester_name
    welcome = (ANY_MEMBER, reading.requester.hex())
    if not any(one in welcome or (name and one == name) for one in rules.requesters):
        return "requesters: the requester is not one of those whom the owner allows"
    if not reading.queries:
        return "queries: the reading asks for nothing"
    for query in reading.queries:
        if (words := _query_refused(terms, query)) is not None:
            return words
    if len(use.sites) < rules.min_sites:
        return f"min_sites: {len(use.sites)} < {rules.min_sites}"
    for before in known:
        apart = len(before.sites ^ use.sites)
        if 0 < apart < rules.min_sites and _alike(before.queries, use.queries):
            return f"overlap: an earlier answer was over sites that differ by {apart} < {rules.min_sites}"
    if rules.max_uses and use not in known and len(set(known)) >= rules.max_uses:
        return "max_uses: all uses are spent"
    return None


def _query_refused(terms: Terms, query: Query) -> str | None:
    if query.statistic not in terms.consent.allow:
        return f"allow: {query.statistic} is not one of {', '.join(terms.consent.allow) or 'nothing'}"
    if query.column not in columns(terms):
        return f"columns: the vault has no column {query.column!r}"
    if places(terms, query) is None:
        return f"slots: {query.statistic} of {query.column!r} was not encoded in this form at deposit"
    return None


def _alike(one: tuple[Query, ...], other: tuple[Query, ...]) -> bool:
    """Whether both reveal a sum of the same kind about one column."""
    return any(
        left.column == right.column and names.form(left.statistic).family & names.form(right.statistic).family
        for left in one
        for right in other
    )


def elements(terms: Terms, queries: tuple[Query, ...]) -> list[int]:
    """Indices of the vector's elements that answer the queries, one after the other; all must be served."""
    found: list[int] = []
    for query in queries:
        place = places(terms, query)
        assert place is not None, "judged before"
        found.extend(place)
    return found


def unserved(terms: Terms, queries: tuple[Query, ...]) -> str | None:
    """What of a reading the terms will never answer, whoever asks; None if nothing."""
    return next((words for query in queries if (words := _query_refused(terms, query)) is not None), None)
