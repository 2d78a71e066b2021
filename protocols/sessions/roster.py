"""Which contributions count: rosters, ballots, certificates.

A member signs at most one roster for a (session, stage, generation). A certificate is q > (n+t)/2
ballots; two certificates would overlap in 2q - n > t members, so an honest member would have signed
twice: contradiction. Whoever releases a share does so against a certificate only.

A result is vouched for by t+1 ballots: at least one of an honest member that decoded the total itself.

Who votes sees a roster whole, and judges each group; so whoever has a certificate need not. A roster above
the leaves may therefore be shown in part with its certificate (see `roster_tree`): ballots sign the digest,
which part and whole have in common, and among q > (n+t)/2 is an honest member's, by which the groups are well
formed, each source is in one, and the count is the sum over the sources' certified rosters. Shares are dealt,
added and opened against whole rosters only: where `in_part` is not asked for, a part is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, SessionId
from protocols.sessions.assembly import Assembly
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import NO_SOURCE, NO_VECTOR, Ballot, Certificate, Group, Handover, Roster
from protocols.sessions.plan import MAX_HANDOVERS, Seat
from protocols.sessions.roster_tree import roster_digest as roster_digest
from protocols.wire import codec
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

ROSTER, RESULT, HANDOVER = "roster ballot", "result ballot", "handover ballot"


def handover_digest(session: SessionId, handover: Handover) -> Digest:
    """What handover ballots sign."""
    return digest("handover", session, codec.encode(handover))


def cast(keys: PartyKeys, seat: int, label: str, subject: Digest) -> Ballot:
    """Sign `subject` as the holder of `seat`."""
    return Ballot(seat, sign_statement(keys.signing_seed, label, subject))


def is_valid(assembly: Assembly, ballot: Ballot, label: str, subject: Digest) -> bool:
    """Whether the holder of the ballot's seat signed `subject`."""
    if ballot.seat >= len(assembly.seats):
        return False
    return check_statement(assembly.members[ballot.seat], label, subject, ballot.signature)


def check_ballots(
    assembly: Assembly, ballots: tuple[Ballot, ...], label: str, subject: Digest, needed: int
) -> None:
    """Raise MalformedMessage unless `needed` different seats signed `subject`."""
    seats = {ballot.seat for ballot in ballots}
    if len(seats) != len(ballots) or len(seats) < needed:
        raise MalformedMessage(f"{label}: {len(seats)} ballots where {needed} are needed")
    for ballot in ballots:
        if not is_valid(assembly, ballot, label, subject):
            raise MalformedMessage(f"{label}: the ballot of seat {ballot.seat} is forged")


def check_roster(assembly: Assembly, roster: Roster, certified: bool = False, in_part: bool = False) -> None:
    """Raise MalformedMessage unless `roster` has the form that this assembly's rosters have.

    Groups follow the order of the sources, entries are sorted by dealer, every dealer is expected.
    Whether the contributors are right is checked against the sources' certificates, by `check_sources`.
    Who dealt a child's sum is for those to check who vote: only they need know the child's generations.
    `in_part`: it is enough that it is shown in part.
    """
    if (roster.stage, roster.generation) != (assembly.stage, assembly.generation):
        raise MalformedMessage("roster is of another stage or generation")
    if roster.hidden is not None and not (in_part and counts(assembly)):
        raise MalformedMessage("a roster is shown in part where it takes the whole")
    if roster.hidden is not None and roster.groups:
        raise MalformedMessage("a roster is shown whole or in part")
    children = list(roster.children)
    if children != [source.child for source in assembly.sources if source.child in children]:
        raise MalformedMessage("roster groups are unknown, repeated or out of order")
    if roster.is_interim:
        check_interim(assembly, roster)
    _check_count(assembly, roster)
    _check_groups(assembly, roster, certified)


def _check_groups(assembly: Assembly, roster: Roster, certified: bool) -> None:
    by_child = {source.child: source for source in assembly.sources}
    for group in roster.groups:
        source = by_child[group.child]
        dealers = [entry.dealer for entry in group.entries]
        trusted = certified and source.child not in (-1, assembly.stage)
        expected = trusted or any(set(dealers) <= set(committee) for committee in source.committees)
        if dealers != sorted(set(dealers)) or not expected:
            raise MalformedMessage("roster entries are unsorted, repeated or not expected")
        if source.is_devices:
            named = (group.source, group.vector) != (NO_SOURCE, NO_VECTOR)
            if named or not set(dealers) <= set(roster.contributors):
                raise MalformedMessage("a cluster's contributors are its dealers")
            if len(roster.groups) == 1 and tuple(dealers) != roster.contributors:
                raise MalformedMessage("a cluster's contributors are its dealers")
        elif (group.vector != NO_VECTOR) != (
            assembly.plan.bulk is not None and group.child != assembly.stage
        ):
            raise MalformedMessage(
                "a bulk session's roster names the masked sum of each stage below, and of nothing else"
            )
        elif len(dealers) <= 2 * source.threshold:
            raise MalformedMessage(
                f"{len(dealers)} sub-shares of degree {source.threshold} cannot be checked"
            )


def check_interim(assembly: Assembly, roster: Roster) -> None:
    """Raise MalformedMessage unless the generation may end early, and its successors are of the plan."""
    if not assembly.is_divisible or assembly.generation >= MAX_HANDOVERS:
        raise MalformedMessage("an interim roster where all must be in one, or no mask is left for it")
    check_seats(assembly, roster.successors)


def check_seats(assembly: Assembly, seats: tuple[Seat, ...]) -> None:
    """Raise MalformedMessage unless `seats` are the assembly's, some of them filled with substitutes."""
    if len(seats) != len(assembly.seats):
        raise MalformedMessage("handover changes the number of seats")
    if len({seat.party for seat in seats}) != len(seats):
        raise MalformedMessage("handover gives a party two seats")
    fresh = [new for old, new in zip(assembly.seats, seats, strict=True) if new != old]
    if not fresh or not set(fresh) <= set(assembly.blueprint.substitutes):
        raise MalformedMessage("handover seats somebody who is no substitute")
    if {seat.party for seat in fresh} & set(assembly.members):
        raise MalformedMessage("handover moves somebody to another seat")


def counts(assembly: Assembly) -> bool:
    """Whether rosters of this stage give the number of contributors in place of their names."""
    return assembly.plan.by_role and not assembly.blueprint.dealers


def _check_count(assembly: Assembly, roster: Roster) -> None:
    """Nor may more count than the plan says it has: consent rests on that number (mesh/data/overlap)."""
    if bool(roster.contributors if counts(assembly) else roster.count):
        raise MalformedMessage("roster names its contributors where it should count them, or the other way")
    if roster.sites > assembly.plan.dealer_count:
        raise MalformedMessage(
            f"{roster.sites} contributed to a plan of {assembly.plan.dealer_count} devices"
        )


def united(
    assembly: Assembly,
    groups: tuple[Group, ...],
    certificates: Mapping[int, Certificate],
    successors: tuple[Seat, ...] = (),
) -> Roster:
    """The roster of `groups`; `certificates` of the sources say who stands behind them, or how many.

    No source is in two groups, nor in the sum of the generation before, so that numbers add up.
    """
    named = {entry.dealer for group in groups if group.child < 0 for entry in group.entries}
    below = [certificates[group.child].roster for group in groups if group.child >= 0]
    place = assembly.stage, assembly.generation
    if counts(assembly):
        return Roster(*place, groups, (), successors, sum(roster.sites for roster in below))
    named.update(*(roster.contributors for roster in below))
    return Roster(*place, groups, tuple(sorted(named)), successors)


def check_sources(assembly: Assembly, roster: Roster, certificates: Mapping[Digest, Certificate]) -> None:
    """Raise MalformedMessage unless each resharing group and the contributors rest on certified rosters.

    `certificates` holds those of the sources by the digests of their rosters; the caller checked them. Who
    dealt a sum must have sat in the very generation that the group names: others hold other shares of it.
    """
    by_child = {source.child: source for source in assembly.sources}
    contributors: set[bytes] = set()
    sites = 0
    for group in roster.groups:
        if group.child < 0:
            contributors.update(entry.dealer for entry in group.entries)
            sites += len(group.entries)
            continue
        certificate = certificates.get(group.source)
        if certificate is None or certificate.roster.stage != group.child:
            raise MalformedMessage(f"the sum of stage {group.child} comes without its certificate")
        seated = by_child[group.child].seated(certificate.roster.generation)
        if not {entry.dealer for entry in group.entries} <= set(seated):
            raise MalformedMessage(f"the sum of stage {group.child} comes from others than who certified it")
        contributors.update(certificate.roster.contributors)
        sites += certificate.roster.sites
    if sites != roster.sites:
        raise MalformedMessage(f"roster counts {roster.sites} where those below have {sites}")
    if not counts(assembly) and tuple(sorted(contributors)) != roster.contributors:
        raise MalformedMessage("contributors differ from the union of the certified rosters")


def check_certificate(assembly: Assembly, certificate: Certificate, in_part: bool = False) -> None:
    """Raise MalformedMessage unless a quorum of `assembly` signed the roster, shown whole or `in_part`.

    Once for each assembly and certificate: both never change, and member, adder and dealer of one party ask.
    """
    whole = certificate.roster.hidden is None
    if whole and certificate.checked_by.get(id(assembly)) is assembly:
        return
    check_roster(assembly, certificate.roster, certified=True, in_part=in_part)
    subject = roster_digest(assembly.session, certificate.roster)
    check_ballots(assembly, certificate.ballots, ROSTER, subject, assembly.quorum)
    if whole:
        certificate.checked_by[id(assembly)] = assembly
