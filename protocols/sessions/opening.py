"""Opening the total, robustly, and vouching for it.

A root member releases its share of the payload against the certified roster only, persisted first. With
shares from m members the opening corrects, and names, as many liars as it can without ever trusting a
codeword that t liars could have forged (see `resharing.bounded`): t of them when all n = 3t+1 answer,
none but noticed at m = 2t+1; with fewer it does not open. The total is vouched for by t+1 ballots.

Symbols: m answers, n seats, t threshold.
"""

from __future__ import annotations

import numpy as np

from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import MalformedMessage, UnattributableFault, UnexpectedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.machine import Broadcast, Effect, Persist, Publish
from protocols.sessions import events, roster
from protocols.sessions.assembly import Assembly
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import (
    Ballot,
    Certificate,
    HandoverCertificate,
    OpeningShare,
    Result,
    ResultVote,
)
from protocols.sessions.records import ShareReleased, VoteCast
from protocols.sessions.resharing import bounded
from protocols.sharing import robust
from protocols.wire.digest import digest

OPENING_GRACE_S = 1.0


def result_digest(session: SessionId, roster_name: Digest, total: Elements) -> Digest:
    """What result ballots sign."""
    return digest("result", session, roster_name, total.astype("<u8").tobytes())


def check_result(assembly: Assembly, result: Result) -> None:
    """Raise MalformedMessage unless t+1 root members vouch for the total over a certified roster.

    `assembly` is the root's generation that opened (see `handover.replay`).
    """
    roster.check_certificate(assembly, result.certificate, in_part=True)
    if result.certificate.roster.is_interim:
        raise MalformedMessage("an interim sum is never opened")
    if result.total.size != assembly.plan.length:
        raise MalformedMessage("result has the wrong length")
    plan, counted = assembly.plan, result.certificate.roster
    named = plan.by_role or plan.dealer_set.issuperset(counted.contributors)
    if not named or not plan.job.min_sites <= counted.sites <= plan.dealer_count:
        raise MalformedMessage("result over a roster that the plan does not allow")
    name = roster.roster_digest(assembly.session, result.certificate.roster)
    subject = result_digest(assembly.session, name, result.total)
    roster.check_ballots(assembly, result.ballots, roster.RESULT, subject, assembly.threshold + 1)


class Opening:
    """One root member's part in opening one sum."""

    def __init__(
        self,
        assembly: Assembly,
        keys: PartyKeys,
        seed: bytes,
        certificate: Certificate,
        share: Elements,
        chain: tuple[tuple[HandoverCertificate, ...], tuple[Certificate, ...]],
    ) -> None:
        """`chain`: the handovers and interim rosters that lead to this generation."""
        self.assembly = assembly
        self.keys = keys
        self.result: Result | None = None
        self.failure: str | None = None
        self.lost: frozenset[PartyId] = frozenset()
        self._seed = seed
        self._certificate = certificate
        self._chain = chain
        self._share = share[: assembly.plan.length].copy()
        self._name = roster.roster_digest(assembly.session, certificate.roster)
        self._shares: dict[int, Elements] = {}
        self._ballots: dict[int, tuple[Digest, Ballot]] = {}
        self._total: Elements | None = None
        self._subject: Digest | None = None
        self._since = 0.0
        self._patient = True

    def start(self, now: float) -> list[Effect]:
        """Release our share."""
        self._since = now
        seat = self._seat(self.keys.party)
        self._shares[seat + 1] = self._share
        record = ShareReleased(self.assembly.stage, self.assembly.generation, self._name)
        message = OpeningShare(self.assembly.stage, self.assembly.generation, self._name, self._share)
        event = events.Progress(self.assembly.stage, "opening", "share released")
        others = tuple(member for member in self.assembly.members if member != self.keys.party)
        return [Persist(record), Publish(event), Broadcast(others, message), *self._try_open()]

    @property
    def deadline(self) -> float | None:
        """End of the grace period for shares."""
        return self._since + OPENING_GRACE_S if self._total is None and self._patient else None

    def expire(self, now: float) -> list[Effect]:
        """The grace period is over."""
        self._patient = now < self._since + OPENING_GRACE_S
        return self._try_open()

    def lose(self, now: float, lost: frozenset[PartyId]) -> list[Effect]:
        """Do not wait for these."""
        del now
        self.lost = lost
        return self._try_open()

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """Take one message. Raises ProtocolError if it is unacceptable."""
        del now
        match message:
            case OpeningShare():
                return self._on_share(sender, message)
            case ResultVote():
                return self._on_vote(sender, message)
        raise UnexpectedMessage(f"an opening takes no {type(message).__name__}")

    def _seat(self, party: PartyId) -> int:
        seat = self.assembly.seat_of(party)
        if seat is None:
            raise UnexpectedMessage(f"{party.short()} has no seat at the root")
        return seat

    def _on_share(self, sender: PartyId, message: OpeningShare) -> list[Effect]:
        point = self._seat(sender) + 1
        if message.roster != self._name:
            raise UnexpectedMessage("opening share for another roster")
        if message.values.size != self._share.size:
            raise MalformedMessage("opening share has the wrong length", blame=sender)
        if point in self._shares:
            return []
        self._shares[point] = message.values
        return self._try_open()

    def _try_open(self) -> list[Effect]:
        """With all live members' shares, or once the grace period is over with what correction needs.

        It has failed for good only when nobody who is there could still send a share.
        """
        if self._total is not None:
            return []
        threshold = self.assembly.threshold
        live = {index + 1 for index, member in enumerate(self.assembly.members) if member not in self.lost}
        answered = live <= self._shares.keys()
        if len(self._shares) <= 2 * threshold or (not answered and self._patient):
            return []
        points = tuple(sorted(self._shares))
        matrix = np.stack([self._shares[point] for point in points])
        xof = Xof(self._seed, "opening", self._name)
        try:
            total, liars = robust.open_vectors(points, matrix, threshold, xof)
            bounded(len(points), threshold, liars)
        except UnattributableFault as fault:
            if len(self._shares) == len(self.assembly.members) or (answered and not self._patient):
                self.failure = str(fault)
            return []
        self._total = total
        named: list[Effect] = [
            Publish(
                events.Named(self.assembly.members[points[index] - 1], "opened a wrong share", proven=False)
            )
            for index in liars
        ]
        return [*named, *self._vouch()]

    def _vouch(self) -> list[Effect]:
        assert self._total is not None
        seat = self._seat(self.keys.party)
        self._subject = subject = result_digest(self.assembly.session, self._name, self._total)
        ballot = roster.cast(self.keys, seat, roster.RESULT, subject)
        record = VoteCast(self.assembly.stage, self.assembly.generation, roster.RESULT, subject)
        self._ballots[seat] = (subject, ballot)
        others = tuple(member for member in self.assembly.members if member != self.keys.party)
        vote = ResultVote(self.assembly.stage, self.assembly.generation, subject, ballot)
        self._finish()
        return [Persist(record), Broadcast(others, vote)]

    def _on_vote(self, sender: PartyId, message: ResultVote) -> list[Effect]:
        seat = self._seat(sender)
        valid = roster.is_valid(self.assembly, message.ballot, roster.RESULT, message.result)
        if message.ballot.seat != seat or not valid:
            raise MalformedMessage("forged result ballot", blame=sender)
        held = self._ballots.get(seat)
        if held is None or held[0] != self._subject:
            self._ballots[seat] = (message.result, message.ballot)  # a ballot for another total is no vote
        self._finish()
        return []

    def _finish(self) -> None:
        """Assemble the result from t+1 ballots for the total that we decoded ourselves."""
        if self._total is None or self.result is not None:
            return
        agreeing = [ballot for _, (name, ballot) in sorted(self._ballots.items()) if name == self._subject]
        if len(agreeing) > self.assembly.threshold:
            self.result = Result(self._certificate, self._total, tuple(agreeing), *self._chain)
