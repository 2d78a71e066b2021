"""Who holds a vault now, provable to anybody who knows the mesh: terms, deposit, and how seats moved on.

    Deposit      a quorum of the seats in the terms signed that they hold good shares of one dealing
    Succession   a quorum of generation g's seats decided on a roster (see `decree`), and a quorum of the
                 seats of generation g+1 signed that they hold good shares of it

A quorum is q > (N+T)/2, so two certificates of one generation would need an honest holder to sign twice, and
every certificate has an honest majority of holders behind it that erased what came before. A standing keeps
the successions that changed seats and the newest; those in between say nothing more. Each succession is
signed over a digest of all changes of seats before it, so no change can be left out of a standing that is
shown.

Invariant: `check_standing` gives the same generation and seats to everybody, and a holder that was away
learns from it that it was replaced.

Symbols: N holders, T threshold, q quorum, g generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Ballot
from protocols.sessions.plan import Seat
from protocols.vault.terms import MASK_PAIRS, MAX_HOLDERS, SignedTerms, Terms, check_seats, check_terms
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

MAX_SUCCESSIONS = 64
"""Changes of seats that a vault lives through; after that it is renewed in place only."""

HELD, COMMIT, ACK, CONSENT = "vault held", "vault commit", "vault ack", "vault consent"

Generation = Annotated[int, Between(0, 2**31)]
RoundIndex = Annotated[int, Between(0, MASK_PAIRS - 1)]
View = Annotated[int, Between(0, 2**16)]
Ballots = Annotated[tuple[Ballot, ...], AtMost(MAX_HOLDERS)]
Seats = Annotated[tuple[Seat, ...], AtMost(MAX_HOLDERS)]
SeatIndex = Annotated[int, Between(0, MAX_HOLDERS - 1)]
SeatIndices = Annotated[tuple[SeatIndex, ...], AtMost(MAX_HOLDERS)]


@dataclass(frozen=True, slots=True)
class Deposit:
    """Certificate of generation 0."""

    dealing: Digest
    ballots: Ballots


@dataclass(frozen=True, slots=True)
class Succession:
    """Generation `generation` was decided by the seats before it and is held by `seats`.

    `left_out`: seats before it whose dealings were found false; so its holders signed.
    """

    generation: Generation
    round: RoundIndex
    view: View
    seats: Seats
    body: Digest
    left_out: SeatIndices
    commits: Ballots
    acks: Ballots


@dataclass(frozen=True, slots=True)
class Standing:
    """A vault with the proof of who holds it."""

    KIND: ClassVar[str] = "vault-standing"
    terms: SignedTerms
    deposit: Deposit
    successions: Annotated[tuple[Succession, ...], AtMost(MAX_SUCCESSIONS + 1)]

    @property
    def vault(self) -> Digest:
        """The vault's id."""
        return self.terms.terms.vault

    @property
    def generation(self) -> int:
        """The newest certified one."""
        return self.successions[-1].generation if self.successions else 0

    @property
    def seats(self) -> tuple[Seat, ...]:
        """Holders of that generation."""
        return self.successions[-1].seats if self.successions else self.terms.terms.seats

    @property
    def members(self) -> tuple[PartyId, ...]:
        """Parties in seat order."""
        return tuple(seat.party for seat in self.seats)

    def seat_of(self, party: PartyId) -> int | None:
        """Index of the seat that `party` holds, or None."""
        return self.members.index(party) if party in self.members else None

    @property
    def everyone(self) -> tuple[PartyId, ...]:
        """All who ever held a share, as far as the standing tells."""
        seats = [*self.terms.terms.seats, *(seat for step in self.successions for seat in step.seats)]
        return tuple(dict.fromkeys(seat.party for seat in seats))


def deposit_subject(vault: Digest, dealing: Digest) -> Digest:
    """What receipts of a deposit sign."""
    return digest("vault deposit", vault, dealing)


def outcome_name(
    history: Digest, generation: int, round_: int, seats: tuple[Seat, ...], body: Digest
) -> Digest:
    """Names a roster of a renewal: what replaces `generation`, by which dealings, held by whom."""
    listed = b"".join(codec.encode(seat) for seat in seats)
    return digest("vault outcome", history, generation.to_bytes(4, "big"), bytes([round_]), listed, body)


def history_of(standing: Standing, upto: int = MAX_SUCCESSIONS + 1) -> Digest:
    """Digest of the vault and of all changes of seats in the first `upto` successions, in order."""
    history, seats = standing.vault, standing.terms.terms.seats
    for step in standing.successions[:upto]:
        if step.seats != seats:
            listed = b"".join(codec.encode(seat) for seat in step.seats)
            history = digest("vault history", history, step.generation.to_bytes(4, "big"), listed)
            seats = step.seats
    return history


def held_throughout(standing: Standing, party: PartyId, since: int) -> bool:
    """Whether `party`, which held a seat in generation `since`, held one in all generations after it."""
    return all(
        any(seat.party == party for seat in step.seats)
        for step in standing.successions
        if step.generation > since
    )


def before(standing: Standing) -> tuple[PartyId, ...]:
    """Who held the seats in the generation before the newest one."""
    kept = standing.successions
    seats = kept[-2].seats if len(kept) > 1 else standing.terms.terms.seats
    return tuple(seat.party for seat in seats)


def commit_subject(outcome: Digest, view: int) -> Digest:
    """What commits of a decree sign."""
    return digest("vault commit", outcome, view.to_bytes(4, "big"))


def ack_subject(outcome: Digest, good: bool, left_out: tuple[int, ...] = ()) -> Digest:
    """What new holders sign: that they hold the new shares, made without the dealings of the seats
    `left_out`; or that the roster's dealings cannot be used."""
    return digest("vault ack", outcome, bytes([good]), bytes(left_out))


def cast(keys: PartyKeys, seat: int, label: str, subject: Digest) -> Ballot:
    """Sign `subject` as the holder of `seat`."""
    return Ballot(seat, sign_statement(keys.signing_seed, label, subject))


def is_valid(seats: tuple[Seat, ...], ballot: Ballot, label: str, subject: Digest) -> bool:
    """Whether the holder of the ballot's seat signed `subject`."""
    if ballot.seat >= len(seats):
        return False
    return check_statement(seats[ballot.seat].party, label, subject, ballot.signature)


def check_ballots(
    seats: tuple[Seat, ...], ballots: tuple[Ballot, ...], label: str, subject: Digest, needed: int
) -> None:
    """Raise MalformedMessage unless `needed` different seats signed `subject`."""
    given = {ballot.seat for ballot in ballots}
    if len(given) != len(ballots) or len(given) < needed:
        raise MalformedMessage(f"{label}: {len(given)} ballots where {needed} are needed")
    for ballot in ballots:
        if not is_valid(seats, ballot, label, subject):
            raise MalformedMessage(f"{label}: the ballot of seat {ballot.seat} is forged")


def check_standing(standing: Standing, mesh: Digest, known: Standing | None = None) -> Terms:
    """The terms, if every step is certified. Raises MalformedMessage at the first that is not.

    Steps that `known`, a standing that was checked before, has as well are not checked again. The newest step
    comes first: who is no quorum of its holders does not make us check all that it sends.
    """
    terms = check_terms(standing.terms, mesh)
    same = known is not None and (known.terms, known.deposit) == (standing.terms, standing.deposit)
    shared = _shared(standing.successions, known.successions) if same and known is not None else 0
    _check_shape(standing, terms)
    for index in range(len(standing.successions) - 1, shared - 1, -1):
        step, seats = standing.successions[index], _seats_before(standing, index)
        history = history_of(standing, index)
        outcome = outcome_name(history, step.generation - 1, step.round, step.seats, step.body)
        subject = ack_subject(outcome, True, step.left_out)
        check_ballots(step.seats, step.acks, ACK, subject, terms.quorum)
        check_ballots(seats, step.commits, COMMIT, commit_subject(outcome, step.view), terms.quorum)
        check_seats(step.seats, terms.threshold)
    if not same:
        subject = deposit_subject(terms.vault, standing.deposit.dealing)
        check_ballots(terms.seats, standing.deposit.ballots, ACK, subject, terms.quorum)
    return terms


def proofs(standing: Standing, known: Standing | None = None) -> int:
    """How many signatures `check_standing` would check at most."""
    shared = _shared(standing.successions, known.successions) if known is not None else 0
    steps = standing.successions[shared:]
    return 1 + len(standing.deposit.ballots) + sum(len(step.commits) + len(step.acks) for step in steps)


def _shared(steps: tuple[Succession, ...], known: tuple[Succession, ...]) -> int:
    """How many successions both begin with."""
    pairs = enumerate(zip(steps, known, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(steps), len(known)))


def _check_shape(standing: Standing, terms: Terms) -> None:
    generation = 0
    for step in standing.successions:
        if step.generation <= generation:
            raise MalformedMessage("the generations of a vault do not rise")
        if len(step.seats) != len(terms.seats):
            raise MalformedMessage("a succession changes the number of holders")
        generation = step.generation


def _seats_before(standing: Standing, index: int) -> tuple[Seat, ...]:
    return standing.successions[index - 1].seats if index else standing.terms.terms.seats


def origin(standing: Standing) -> Digest:
    """By what its generation's fragments are called: the owner's dealing, or the roster that made them."""
    if not standing.successions:
        return standing.deposit.dealing
    step = standing.successions[-1]
    history = history_of(standing, len(standing.successions) - 1)
    return outcome_name(history, step.generation - 1, step.round, step.seats, step.body)


def advance(standing: Standing, step: Succession) -> Standing:
    """The standing with one succession more; steps without a change of seats are not kept for ever."""
    kept = list(standing.successions)
    if kept and step.seats == kept[-1].seats:
        before = kept[-2].seats if len(kept) > 1 else standing.terms.terms.seats
        if kept[-1].seats == before:
            kept.pop()
    return Standing(standing.terms, standing.deposit, (*kept, step))
