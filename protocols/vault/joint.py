"""One sum over several vaults and live sites, opened in an ordinary session: holders deal as devices do.

Vaults have different holders, so nobody could add their shares seat by seat. But a secret is a linear
combination of any T+1 shares: x = sum over i of lambda_i s_i. So 2T+1 or more of those who consented, of each
vault, deal their shares of the elements asked for as ordinary devices deal their rows; the session's
committee weighs and adds what it holds shares of, and opens the sum over all vaults together with checks that
tell who dealt something else than its share (`protocols.sessions.codewords`). Then the sum is asked for again
without them: the same use, the same sum.

What is seen. A dealer's share is dealt like a device's own rows and never opened by itself, so the session's
guarantees are the vaults': the committee and the requester see the total. T holders of a vault that also sit
on the committee still miss an honest dealer's share. The plan demands all its dealers: a total over some of
them, which would mean nothing, is not opened.

Live sites named in the reading deal their own rows in the same session, by their own owners' policies; to
them each vault counts as one site, however many holders deal for it.

Soundness: up to T lying holders of each vault are found out, and named if 3T+1 deal for it. Holders of each
vault see the proof that the others are vaults of the owners that the reading names, with their holders'
consent to the same reading.

Symbols: T threshold, lambda Lagrange coefficients at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from protocols.arithmetic.field import Elements
from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions import codewords
from protocols.sessions.plan import VAULTS, Code, Codes, Plan
from protocols.vault import standing as standings
from protocols.vault.consent import elements, unserved, use_of
from protocols.vault.messages import Reading, consent_subject
from protocols.vault.standing import CONSENT, Ballots, Standing, check_ballots, check_standing
from protocols.vault.terms import MAX_HOLDERS
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between
from protocols.wire.digest import digest

PREFIX = VAULTS


@dataclass(frozen=True, slots=True)
class Part:
    """One vault in the sum: who holds it, which seats deal, 2T+1 or more, and a quorum's consents."""

    standing: Standing
    seats: Annotated[tuple[Annotated[int, Between(0, MAX_HOLDERS - 1)], ...], AtMost(MAX_HOLDERS)]
    ballots: Ballots

    @property
    def dealers(self) -> tuple[PartyId, ...]:
        """Whose shares are dealt."""
        return tuple(self.standing.members[seat] for seat in self.seats)

    @property
    def code(self) -> Code:
        """The same for the session's committee."""
        points = tuple(seat + 1 for seat in self.seats)
        return Code(self.dealers, points, self.standing.terms.terms.threshold)


@dataclass(frozen=True)
class VaultJoint:
    """Requester to the dealers, before the plan: what the session of this name adds up."""

    KIND: ClassVar[str] = "vault-joint"
    reading: Reading
    parts: Annotated[tuple[Part, ...], AtMost(16)]
    dataset: Annotated[str, AtMost(64)] = ""
    """Data set of the live sites, if the reading has any."""

    @cached_property
    def name(self) -> Digest:
        """Names it in the plan's job."""
        return digest("vault joint", codec.encode(self))

    @property
    def dealers(self) -> tuple[PartyId, ...]:
        """All who deal, sorted; a party may hold seats of several vaults."""
        holders = {party for part in self.parts for party in part.dealers}
        return tuple(sorted(holders | set(self.reading.sites)))

    @cached_property
    def codes(self) -> Codes:
        """What the session adds up; `check_joint` must have passed, or the parts be our own."""
        width = len(elements(self.parts[0].standing.terms.terms, self.reading.queries))
        return Codes(width, self.reading.sites, tuple(part.code for part in self.parts))


def check_joint(joint: VaultJoint, mesh: Digest) -> None:
    """Raise MalformedMessage unless every part is a vault whose holders consented to this very reading."""
    sites = joint.reading.sites
    if tuple(part.standing.vault for part in joint.parts) != joint.reading.vaults or not joint.parts:
        raise MalformedMessage("the parts are not those of the reading")
    if sites != tuple(sorted(set(sites))) or bool(sites) != bool(joint.dataset):
        raise MalformedMessage("live sites are repeated, out of order, or without a data set")
    if len(set(joint.reading.vaults)) != len(joint.parts):
        raise MalformedMessage("a vault appears twice in a sum")
    if joint.reading.owners != tuple(part.standing.terms.terms.owner for part in joint.parts):
        raise MalformedMessage("the vaults are not of the owners that the reading names")
    others = use_of(joint.reading).others
    for part in joint.parts:
        terms = part.standing.terms.terms
        if terms.consent.min_sites > 1 and others < terms.consent.min_sites:
            raise MalformedMessage(f"{others} owners where {terms.consent.min_sites} are wanted")
        if part.seats != tuple(sorted(set(part.seats))) or len(part.seats) <= 2 * terms.threshold:
            raise MalformedMessage("a vault is dealt by 2T+1 or more different seats, in order")
        if part.seats[-1] >= len(part.standing.seats):
            raise MalformedMessage("a vault is dealt by a seat that does not exist")
    for part in joint.parts:
        terms = check_standing(part.standing, mesh)
        if (words := unserved(terms, joint.reading.queries)) is not None:
            raise MalformedMessage(f"a vault does not serve the reading: {words}")
        subject = consent_subject(joint.reading, part.standing.vault, part.standing.generation)
        check_ballots(part.standing.seats, part.ballots, CONSENT, subject, terms.quorum)


def proofs(joint: VaultJoint) -> int:
    """How many signatures `check_joint` would check at most."""
    return sum(standings.proofs(part.standing) + len(part.ballots) for part in joint.parts)


def check_plan(joint: VaultJoint, plan: Plan) -> None:
    """Raise MalformedMessage unless the plan opens exactly this sum: all its dealers and nobody else."""
    job, reading = plan.job, joint.reading
    if (plan.initiator, job.queries) != (reading.requester, reading.queries):
        raise MalformedMessage("a session of somebody else, or about something else")
    if job.dataset != PREFIX + joint.name.hex() or plan.bulk is not None:
        raise MalformedMessage("a session that names another sum")
    if plan.codes != joint.codes or plan.dealers != joint.dealers or job.min_sites != len(joint.dealers):
        raise MalformedMessage("a sum over vaults is opened over all its dealers' shares or not at all")


def summand(
    joint: VaultJoint, me: PartyId, shares: Mapping[Digest, Elements], own: Elements | None = None
) -> Elements:
    """What we deal, (codes.length,): our shares of the vaults that we deal for, a live site's `own` vector.

    `shares` by vault, (width,). Raises LocalMisuse when these are not what we have to deal.
    """
    dealt = {
        index: shares[part.standing.vault][elements(part.standing.terms.terms, joint.reading.queries)]
        for index, part in enumerate(joint.parts)
        if me in part.dealers
    }
    return codewords.vector(joint.codes, me, own, dealt)
