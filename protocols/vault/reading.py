"""Reading one vault: a requester asks, a quorum of the holders consents, then their shares open the answer.

    requester  VaultAsk -> holders            the reading, for one generation
    holder     judges by the terms and its own ledger, writes it down, VaultConsent (signed)
    requester  VaultRelease (q consents) -> holders
    holder     VaultShare: its shares of the elements asked for, sealed to the requester
    requester  decodes (Reed-Solomon): up to T lies corrected and named when all N = 3T+1 answer

What is seen. The requester gets shares of the opened columns only, whose constant terms are the answer; the
other T coefficients are uniform and independent of everything else, and a renewal draws them anew. T
holders together with the requester see the answer, those columns' polynomials, and T shares of every other
column, which are independent of its secret: the answer and nothing else. T holders without the requester see
no answer at all. The requester decodes by itself and need not trust any holder.

Soundness: `bounded` accepts no codeword that T liars could have forged; with 2T+1 answers it notices lies.

Symbols: N holders, T threshold, q quorum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import MalformedMessage, UnattributableFault, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Publish
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Ballot
from protocols.sessions.resharing import bounded
from protocols.sharing import robust
from protocols.vault.consent import elements
from protocols.vault.messages import (
    Reading,
    VaultAsk,
    VaultConsent,
    VaultDecline,
    VaultRelease,
    VaultShare,
    ask,
    consent_subject,
)
from protocols.vault.standing import CONSENT, Standing, cast, check_ballots, is_valid
from protocols.wire import sealing
from protocols.wire.digest import digest

PATIENCE_S = 4.0
"""How long each of the two steps waits for holders that are there and say nothing."""

AWAY, NO_ANSWER = "not reachable", "no answer"
"""Why a holder has not consented: there is no link to it, or it says nothing."""

GRACE_S = 0.5
"""How long the first step waits for the last consents once a quorum is there."""


@dataclass(frozen=True, slots=True)
class ReadingOpened:
    """The elements asked for, (sum of lengths,), and the holders that lied about them."""

    values: Elements
    holders: tuple[PartyId, ...]
    liars: tuple[PartyId, ...]
    receipt: Digest


@dataclass(frozen=True, slots=True)
class ReadingFailed:
    """`denied`: the terms forbid it, as more than T holders say, of which one is honest at least.

    Otherwise too few holders answered, or too many lied, and it may go better another time.
    """

    denied: bool
    reason: str
    reasons: tuple[tuple[PartyId, str], ...]


class Reader:
    """The requester's machine for one vault in one generation. The standing must have been checked."""

    def __init__(self, keys: PartyKeys, standing: Standing, reading: Reading, seed: bytes) -> None:
        self.standing = standing
        self.reading = reading
        self.outcome: ReadingOpened | ReadingFailed | None = None
        self._keys = keys
        self._terms = standing.terms.terms
        self._seed = seed
        self._wanted = len(elements(self._terms, reading.queries))
        self._consents: dict[int, Ballot] = {}
        self._shares: dict[int, Elements] = {}
        self._reasons: dict[int, str] = {}
        self._released = False
        self._denied: set[int] = set()
        self._ends = float("inf")

    @property
    def deadline(self) -> float | None:
        """End of the current step's patience."""
        return None if self.outcome else self._ends

    def start(self, now: float) -> list[Effect]:
        """Ask all holders."""
        self._ends = now + PATIENCE_S
        asked = ask(self._keys.signing_seed, self.reading)
        message = VaultAsk(self.standing.vault, self.standing.generation, asked)
        return [Broadcast(self.standing.members, message)]

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """A consent, a share or a refusal. Raises ProtocolError."""
        seat = self.standing.seat_of(sender)
        if seat is None or self.outcome is not None:
            raise UnexpectedMessage("an answer to a reading that is over, or of somebody who holds nothing")
        match message:
            case VaultConsent():
                self._on_consent(sender, seat, message)
            case VaultShare():
                self._on_share(sender, seat, message)
            case VaultDecline():
                self._reasons[seat] = message.reason
                self._denied |= {seat} if message.denied else set()
            case _:
                raise UnexpectedMessage(f"a reading takes no {type(message).__name__}")
        return self._advance(now, over=False)

    def lose(self, now: float, party: PartyId) -> list[Effect]:
        """The holder cannot be reached."""
        seat = self.standing.seat_of(party)
        if seat is None or self.outcome is not None:
            return []
        self._reasons.setdefault(seat, AWAY)
        return self._advance(now, over=False)

    def expire(self, now: float) -> list[Effect]:
        """The step's patience is over."""
        return self._advance(now, over=True) if self.outcome is None else []

    def _on_consent(self, sender: PartyId, seat: int, message: VaultConsent) -> None:
        subject = consent_subject(self.reading, self.standing.vault, self.standing.generation)
        if message.ballot.seat != seat or not is_valid(self.standing.seats, message.ballot, CONSENT, subject):
            raise MalformedMessage("a forged consent", blame=sender)
        self._consents[seat] = message.ballot

    def _on_share(self, sender: PartyId, seat: int, message: VaultShare) -> None:
        if not self._released or seat in self._shares:
            raise UnexpectedMessage("a share that was not asked for")
        if (message.generation, message.reading) != (self.standing.generation, self.reading.name):
            raise UnexpectedMessage("a share of another generation or for another reading")
        context = share_context(self.reading, self.standing.vault, self.standing.generation, seat)
        try:
            plain = sealing.unseal(self._keys.sealing_secret, message.sealed, context)
        except sealing.SealBroken:
            plain = b""
        values: Elements = np.frombuffer(plain[: len(plain) // 8 * 8], dtype="<u8").astype(np.uint64)
        if values.size != self._wanted or bool((values >= field.P).any()):
            self._reasons[seat] = "its share is not one"
            raise MalformedMessage("a share of the wrong size, or that does not open", blame=sender)
        self._shares[seat] = values

    def _advance(self, now: float, *, over: bool) -> list[Effect]:
        seats, quorum = range(len(self.standing.seats)), self._terms.quorum
        if not self._released:
            open_ = [s for s in seats if s not in self._consents and s not in self._reasons]
            if len(self._consents) >= quorum and (over or not open_):
                return self._release(now)
            if len(self._consents) >= quorum:
                self._ends = min(self._ends, now + GRACE_S)
                return []
            doubt = 0 < len(self._denied) <= self._terms.threshold < len(self._denied) + len(open_)
            if over or (len(self._consents) + len(open_) < quorum and not doubt):
                return self._fail(denied=len(self._denied) > self._terms.threshold, waited=over)
            return []
        open_ = [s for s in self._consents if s not in self._shares and s not in self._reasons]
        if open_ and not over:
            return []
        return self._open()

    def _release(self, now: float) -> list[Effect]:
        self._released = True
        self._reasons = {}
        self._ends = now + PATIENCE_S
        ballots = tuple(self._consents[seat] for seat in sorted(self._consents))
        message = VaultRelease(self.standing.vault, self.standing.generation, self.reading, ballots)
        return [Broadcast(tuple(self.standing.members[seat] for seat in sorted(self._consents)), message)]

    def _open(self) -> list[Effect]:
        t, seats = self._terms.threshold, sorted(self._shares)
        if len(seats) <= 2 * t:
            return self._fail(denied=False)
        points = tuple(seat + 1 for seat in seats)
        matrix = np.stack([self._shares[seat] for seat in seats])
        xof = Xof(self._seed, "vault opening", self.reading.name)
        try:
            values, liars = robust.open_vectors(points, matrix, t, xof)
            bounded(len(points), t, liars)
        except UnattributableFault as fault:
            return self._fail(denied=False, reason=str(fault))
        members = self.standing.members
        named = tuple(members[seats[index]] for index in liars)
        receipt = digest("vault receipt", self.reading.name, values.astype("<u8").tobytes())
        self.outcome = ReadingOpened(values, tuple(members[seat] for seat in seats), named, receipt)
        return [Publish(self.outcome)]

    def _fail(self, *, denied: bool, reason: str = "", waited: bool = True) -> list[Effect]:
        """`waited`: who has said nothing yet did not answer; else it was not given the time."""
        members = self.standing.members
        reasons = dict(self._reasons)
        if waited:
            reasons = {seat: self._reasons.get(seat, NO_ANSWER) for seat in range(len(members))}
        told = tuple(
            (members[s], why)
            for s, why in sorted(reasons.items())
            if s not in self._shares and s not in self._consents
        )
        needed = self._terms.quorum if not self._released else 2 * self._terms.threshold + 1
        have = len(self._consents) if not self._released else len(self._shares)
        away = sum(why == AWAY for why in reasons.values())
        what = f"{have} of {len(members)} holders answered, {needed} are needed"
        if away > len(members) - needed:
            what = f"{away} of {len(members)} holders cannot be reached, {needed} are needed"
        what = reason or what
        self.outcome = ReadingFailed(denied, what, told)
        return [Publish(self.outcome)]


@dataclass(frozen=True, slots=True)
class Consented:
    """A quorum of the holders consents."""

    ballots: tuple[Ballot, ...]


class Asking(Reader):
    """The first step alone: consents to a reading of several vaults, which a session then opens."""

    consented: Consented | None = None

    def _release(self, now: float) -> list[Effect]:
        del now
        self.consented = Consented(tuple(self._consents[seat] for seat in sorted(self._consents)))
        nothing = np.zeros(0, dtype=np.uint64)
        members = tuple(self.standing.members[seat] for seat in sorted(self._consents))
        self.outcome = ReadingOpened(nothing, members, (), self.reading.name)
        return [Publish(self.outcome)]


def consent(keys: PartyKeys, standing: Standing, seat: int, reading: Reading) -> VaultConsent:
    """A holder's signed yes; the use must be in its ledger before it is sent."""
    subject = consent_subject(reading, standing.vault, standing.generation)
    ballot = cast(keys, seat, CONSENT, subject)
    return VaultConsent(standing.vault, standing.generation, reading.name, ballot)


def check_release(standing: Standing, sender: PartyId, message: VaultRelease) -> None:
    """Raise ProtocolError unless a quorum of this generation's holders consented to the sender's reading."""
    if (message.vault, message.generation) != (standing.vault, standing.generation):
        raise UnexpectedMessage("a release for another generation of the vault")
    reading = message.reading
    if sender != reading.requester:
        raise MalformedMessage("a release of somebody else's reading", blame=sender)
    if reading.vaults != (message.vault,) or reading.sites:  # its parts are nobody's to open
        raise MalformedMessage(
            "a sum over several is opened in a session, never share by share", blame=sender
        )
    subject = consent_subject(message.reading, message.vault, message.generation)
    check_ballots(standing.seats, message.ballots, CONSENT, subject, standing.terms.terms.quorum)


def release(
    standing: Standing, seat: int, share: Elements, message: VaultRelease, sealing_key: bytes, seed: bytes
) -> VaultShare:
    """Our shares of the elements asked for, sealed to the requester. `check_release` must have passed."""
    chosen = share[elements(standing.terms.terms, message.reading.queries)]
    context = share_context(message.reading, standing.vault, standing.generation, seat)
    sealed = sealing.seal(sealing_key, chosen.astype("<u8").tobytes(), context, seed)
    return VaultShare(standing.vault, standing.generation, message.reading.name, seat, sealed)


def share_context(reading: Reading, vault: Digest, generation: int, seat: int) -> bytes:
    """Binds a sealed share to its place."""
    return bytes(reading.name) + bytes(vault) + generation.to_bytes(4, "big") + bytes([seat])
