"""Statements of an audit: what an adder claims, what devices say of their vectors, what convicts an adder.

    claim    the adder's signature under: this name is the sum of the masked vectors of this certified roster
    tag      a device's signature under the fingerprint of its own vector, for the challenge of a claim

The challenge is the hash of the claim, and the roster names every vector (each dealing does): so whoever
makes a claim has fixed sum and parts before it knows the weights (see `masking.fingerprint`). Fingerprints of
the parts add up to that of the sum, or the claim is false but for a chance of 2^-63.

`Evidence` against an adder is the claim and a tag of every contributor, with the claimed vector itself, whose
digest is its name. It convinces anybody who has the plan, unless the adder shows a tag to be false: the
vector that the device's signed dealing names is in its hands, and its fingerprint is for all to compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, SessionId
from protocols.masking import fingerprint
from protocols.masking.packing import Words
from protocols.masking.parameters import TABLE
from protocols.sessions.bulk_messages import AuditTag, SumClaim
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Certificate, Group
from protocols.sessions.plan import Plan
from protocols.sessions.roster import roster_digest
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

_CLAIM, _TAG = "sum claim", "audit tag"


@dataclass(frozen=True, slots=True)
class Evidence:
    """An adder's claim and the tags that belie it, which were given for `under`: it, or the total's claim."""

    claim: SumClaim
    tags: tuple[AuditTag, ...]
    under: SumClaim


def challenge_of(session: SessionId, claim: SumClaim) -> Digest:
    """What the weights of this claim's fingerprints are drawn from."""
    return fingerprint.challenge(session, claim.stage, claim.roster, claim.name)


def claim(keys: PartyKeys, session: SessionId, certificate: Certificate, name: Digest) -> SumClaim:
    """Sign that `name` is the masked sum of a certified roster."""
    roster = roster_digest(session, certificate.roster)
    unsigned = SumClaim(certificate.roster.stage, roster, name, keys.party, bytes(64))
    subject = _claimed(session, unsigned)
    signature = sign_statement(keys.signing_seed, _CLAIM, subject)
    return SumClaim(certificate.roster.stage, roster, name, keys.party, signature)


def check_claim(plan: Plan, made: SumClaim) -> None:
    """Raise MalformedMessage unless an adder of the claim's stage signed it."""
    if made.stage >= len(plan.stages) or made.adder not in plan.stages[made.stage].adders:
        raise MalformedMessage("a sum is claimed by a party that is no adder of its stage")
    if not check_statement(made.adder, _CLAIM, _claimed(plan.session, made), made.signature):
        raise MalformedMessage("a claim of a sum is not signed by its adder")


def tag(keys: PartyKeys, challenge: Digest, vector: Digest, words: bytes) -> AuditTag:
    """Sign the fingerprint of our own vector."""
    signature = sign_statement(keys.signing_seed, _TAG, _tagged(challenge, vector, words))
    return AuditTag(keys.party, challenge, vector, words, signature)


def check_tag(made: AuditTag) -> None:
    """Raise MalformedMessage unless its device signed it."""
    subject = _tagged(made.challenge, made.vector, made.words)
    if not check_statement(made.dealer, _TAG, subject, made.signature):
        raise MalformedMessage("a fingerprint is not signed by its device", blame=made.dealer)


def sent_bits(plan: Plan) -> int:
    """k of the plan's mask. The plan has one."""
    assert plan.bulk is not None
    return next(row.sent_bits for row in TABLE if row.name == plan.bulk.parameters)


def words_of(data: bytes) -> Words:
    """A fingerprint as it travels, as (WORDS,) words."""
    return np.frombuffer(data, dtype="<u8").astype(np.uint64)


def adds_up(plan: Plan, parts: list[bytes], total: bytes) -> bool:
    """Whether fingerprints add up to that of the sum."""
    return fingerprint.agree(np.stack([words_of(part) for part in parts]), words_of(total), sent_bits(plan))


def convicts(
    plan: Plan,
    certificate: Certificate,
    evidence: Evidence,
    claimed: bytes,
    *above: Certificate,
) -> bool:
    """Whether evidence shows a false sum, to anybody; `claimed`: the fingerprint of the vector of that name.

    `certificate` is that of the claim's stage, `above` those of the root, the final one and then the interim
    ones, if the claim is of a stage below it, where its sum must be named: the caller has checked them. There
    it may stand beside the roster of a later generation, whose keys are of the same devices: a stage has one
    final roster of devices. Raises MalformedMessage if the evidence is none: a signature, or a contributor,
    is missing.
    """
    made, under = evidence.claim, evidence.under
    check_claim(plan, made)
    if roster_digest(plan.session, certificate.roster) != made.roster:
        raise MalformedMessage("the claim is about another roster")
    if under != made:
        check_claim(plan, under)
        named = [(group.child, group.vector) for group in behind(plan, above)]
        if not above or roster_digest(plan.session, above[0].roster) != under.roster:
            raise MalformedMessage("the fingerprints were given for another total")
        if (made.stage, made.name) not in named:
            raise MalformedMessage("the claimed sum is not one of the total")
    challenge = challenge_of(plan.session, under)
    for said in evidence.tags:
        check_tag(said)
        if said.challenge != challenge:
            raise MalformedMessage("a fingerprint for another claim")
    if tuple(sorted(said.dealer for said in evidence.tags)) != certificate.roster.contributors:
        raise MalformedMessage("the fingerprints are not those of all contributors")
    return not adds_up(plan, [said.words for said in evidence.tags], claimed)


def behind(plan: Plan, certificates: Sequence[Certificate]) -> list[Group]:
    """Groups of a stage's final roster, the first of `certificates`, with those of the interim ones among
    the rest whose sums are in it, in place of these sums: what the masked vectors are named by.
    """
    known = {roster_digest(plan.session, one.roster): one.roster for one in certificates}
    rosters, groups = [one.roster for one in certificates[:1]], list[Group]()
    for roster in rosters:
        for group in roster.groups:
            if group.child == roster.stage:
                rosters += [known[group.source]] if group.source in known else []
            else:
                groups.append(group)
    return groups


def _claimed(session: SessionId, made: SumClaim) -> bytes:
    return digest("sum claim", session, made.stage.to_bytes(4, "big"), made.roster, made.name)


def _tagged(challenge: Digest, vector: Digest, words: bytes) -> bytes:
    return digest("audit tag", challenge, vector, words)
