"""Whether the owner's terms allow a reading: what every holder judges by itself, from its own ledger.

A quorum of holders must consent, in one generation, before any of them sends a share, so the owner's rules
hold as long as at most T holders are dishonest. Only owners other than the requester count, for it knows its
own rows: neither towards `min_sites` nor in what two answers differ by.

Newcomers. A party that takes a seat over, or that missed a change of seats which replaced it, consents to
nothing until it has the ledgers of w = N-q+T+1 <= N-T of those who held the seats before it
(`terms.witnesses`). An old holder shows its ledger only once it stands in a later generation, hence will
consent to nothing in the earlier ones, and only if it is no such newcomer itself (else it has nothing whole
to show). Each entry is signed by its requester, so one honest report suffices and no holder can invent a
reading; none can withhold one either:

Claim. Of a reading R that a quorum of generation a consented to, at most N-q seats of any later generation
are held by honest parties that consent to readings and do not know R. Proof: the seats that did not consent
to R are N-q at most, whoever holds them. A seat of the others is held by the honest party that wrote R down;
or by a dishonest one; or it passed to a newcomer. That one has w ledgers of seats before it, at most T of
them of dishonest parties and, by induction, N-q of honest ones that do not know R; w is one more, so R is
among them.

Hence of any later quorum, q > (N+T)/2 seats, at least q - T - (N-q) >= 1 is honest and knows R: no two
readings of the vault's whole life isolate fewer than `min_sites` owners by their difference. For the same
reason each seat takes part in at most max_uses readings while it is in honest hands, and every reading takes
q-T such seats: at most max_uses * N / (q-T) < 3 max_uses readings happen, max_uses * (N-T) / (q-T) < 2
max_uses while no seat changes hands, and exactly max_uses when all holders are asked, as our requester does.

A dishonest party that comes to hold a seat is one of the T of that generation; a party is taken to be honest
or not for as long as it holds a seat. If fewer than w old holders ever come back, the newcomer answers
nothing.

The same requester asking the same of the same vaults and sites again learns nothing new: it is one use. It is
judged against the other readings all the same: a newcomer may have learned of two that exclude each other,
one of which found no quorum, and consents to neither.

Symbols: N holders, T threshold, q quorum, w witnesses, a generation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from protocols.identifiers import Digest, PartyId
from protocols.sessions.plan import Query
from protocols.statistics import names
from protocols.vault.messages import Reading
from protocols.vault.terms import Consent, Terms, columns, places
from protocols.wire import codec
from protocols.wire.digest import digest

ANY_MEMBER = "any-member"
_PARTY_ID = re.compile("[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Use:
    """What one reading reveals, to whom."""

    requester: PartyId
    queries: tuple[Query, ...]
    sites: frozenset[tuple[bytes, PartyId]]
    """Vaults and live sites in the sum, each with its owner."""

    @property
    def name(self) -> Digest:
        """Names the use; the same for readings that ask the same."""
        listed = b"".join(b"".join(pair) for pair in sorted(self.sites))
        queries = b"".join(codec.encode(query) for query in self.queries)
        return digest("vault use", self.requester, queries, listed)

    @property
    def others(self) -> int:
        """Owners in the sum, without the requester."""
        return len({owner for _, owner in self.sites} - {self.requester})


def use_of(reading: Reading) -> Use:
    """What the ledger keeps of a reading."""
    vaults = zip(reading.vaults, reading.owners, strict=False)
    sites = ((bytes(site), site) for site in reading.sites)
    return Use(reading.requester, reading.queries, frozenset((*((bytes(v), o) for v, o in vaults), *sites)))


def outright(terms: Terms, reading: Reading, requester_name: str, now: float) -> str | None:
    """`rule: why` if the terms never allow the reading, whatever was read before; cheap to find out."""
    rules, use = terms.consent, use_of(reading)
    if rules.expires_s and now >= rules.expires_s:
        return "expires: the vault's time is over"
    name = "" if _PARTY_ID.fullmatch(requester_name) else requester_name
    welcome = (ANY_MEMBER, reading.requester.hex())
    if not any(one in welcome or (name and one == name) for one in rules.requesters):
        return "requesters: the requester is not one of those whom the owner allows"
    return _unfit(terms, reading, use)


def may_have_been(terms: Terms, reading: Reading, requester_name: str) -> bool:
    """Whether an honest holder can have consented to it at some time: else a newcomer leaves it out.

    Readings of a requester whose name is not known any more ("") count.
    """
    rules = terms.consent
    welcome = {ANY_MEMBER, reading.requester.hex(), requester_name}
    stranger = bool(requester_name) and welcome.isdisjoint(rules.requesters)
    return not stranger and _unfit(terms, reading, use_of(reading)) is None


def _unfit(terms: Terms, reading: Reading, use: Use) -> str | None:
    if len(reading.owners) != len(reading.vaults) or len(set(reading.vaults)) != len(reading.vaults):
        return "vaults: the reading names not one owner a vault, or a vault twice"
    if (bytes(terms.vault), terms.owner) not in use.sites:
        return "vaults: the reading is not about this vault, or names another owner"
    if not reading.queries:
        return "queries: the reading asks for nothing"
    if (words := unserved(terms, reading.queries)) is not None:
        return words
    return _too_few(terms.consent, use.others)


def _too_few(rules: Consent, others: int) -> str | None:
    if rules.min_sites > 1 and others < rules.min_sites:
        return f"min_sites: {others} < {rules.min_sites} owners, not counting the requester"
    return None


def overlap(terms: Terms, use: Use, earlier: Iterable[Use]) -> str | None:
    """`rule: why` if this answer and an earlier one isolate too few owners by their difference."""
    least = terms.consent.min_sites
    if least < 2:
        return None
    for before in earlier:
        apart = before.sites ^ use.sites
        count = len({owner for _, owner in apart} - {before.requester, use.requester})
        if 0 < count < least and _alike(before.queries, use.queries):
            return f"overlap: an earlier answer was over sites that differ by {count} < {least} owners"
    return None


def refusal(
    terms: Terms, reading: Reading, requester_name: str, earlier: Iterable[Use], now: float
) -> str | None:
    """`rule: why`, for the requester to read, or None if the terms allow the reading."""
    use, known = use_of(reading), {one.name: one for one in earlier}
    words = outright(terms, reading, requester_name, now)
    if words is not None:
        return words
    if (words := overlap(terms, use, known.values())) is not None:
        return words
    return None if use.name in known else spent(terms, len(known))


def spent(terms: Terms, uses: int) -> str | None:
    """`rule: why` if the ledger has no room for another use."""
    limit = terms.consent.max_uses
    return "max_uses: all uses are spent" if limit and uses >= limit else None


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
