"""When an abort is certain, and how that is shown to anybody, later as well.

An abort ballot is a promise, of somebody who sits at the root or may come to sit there, to vote for no roster
and no handover and to show no share of the total, in any generation, from then on. It also says what was done
before: the latest generation in which its author voted for a roster, the latest whose end it agreed to (by an
interim roster or a handover, see `handover`), and whether it showed a share of the total: that binds nobody.

What can be opened. The total of generation i, the one that certified a roster that is not interim; its
members may show shares of it, and after handovers those of i+1 … g as well. Generations form one chain
(`handover`), so ballots are judged against the chain of certificates up to some generation g:

    nothing certified   n - q + 1 + t ballots of members of g that voted for no roster in g: n - q + 1 of them
                        are honest and keep the promise, the other q - 1 make no quorum. So g has no sum to
                        open, and no next generation. If all links of the chain are interim rosters, nothing
                        was or will be opened: each generation before g has spent its one roster on a sum
                        that only moves on
    nobody opens        ballots of all n members of g. One fewer would not do: with a certificate that was
                        held back, a single honest member that goes on shows its share to the t liars, who
                        then have t + 1. Nor will others: n - q + 1 + t of them agreed to no end of g, so that
                        no generation comes after it; or else of all who may sit at the root at most q - 1 - t
                        gave no ballot or voted for a roster after g, so that g + 1, whoever sits in it, has
                        n - q + 1 + t members that never vote, and certifies nothing

and in both cases, if the chain ends with handovers, ballots of all n members of every generation from i on
to the one before g: all of them hold shares of the total.

What an interim handover releases: each old member deals its share of an interim sum anew, to the seats of
the next generation, and erases it. Nobody shows it, and t corrupt members of each generation learn nothing
of the sum (`handover`, Privacy). So to have agreed to one, or to have dealt, opens nothing by itself. It only
means that ballots of the old generation say nothing of the new one, in which other members may open: the
ballots of the new one are what counts, and a member of both gives one for all generations.

Who may not know. A member that was down, or cut off, as its time ran out may have voted for a roster that
is certified by now, and be needed to open it: with its promise to abort the end would be in doubt. So who
sees others of the root lost at that moment, or back for less than RETELL_S (`rootwork`), gives its ballot so
much later, and takes part as before meanwhile: all that was said to it is said again when a link is back. In
a generation that a certified sum was handed over to, nobody proposes a roster without it, nor takes one for
a lack of sites: what is missing are dealings, which come yet, or reach the next rank.

Who knows of a certified roster waits as well, twice as long: what it said after that may have brought others
to their shares, and those may have opened them. Its own promise would leave the end in doubt, and a few
seconds more bring the total.

Who gave a ballot is gone. It votes and opens no more, so nobody waits for it: its seat falls vacant, it is
seated nowhere, and the next rank stands in for it as an adder. Only its own signature does that to it, and
who breaks the promise is one of t. (A refusal comes at the beginning: the plan of who asks may be of an epoch
that has just ended for others, and a session may well open without them.)

Every session ends. Time runs out at total_ms, once. Who waits for news waits in a life of its node for 2
RETELL_S at most, a part of INITIATOR_PATIENCE_S; then it closes. INITIATOR_PATIENCE_S after its time ran out
it has an outcome, whatever else is missing: no later message or loss moves these moments.

Ballots are signed, so those that make an abort definite convince everybody: an owner whose device was away
learns that nothing was revealed. Whoever declines the whole plan gives such a ballot, too, and must never
take part any more (see mesh/runtime/refusals); one that is not signed counts for nobody.

Symbols: n seats, q quorum, t threshold, g generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from protocols.errors import LocalMisuse, MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.sessions.abort_messages import AbortVote, Pledge
from protocols.sessions.assembly import Assembly
from protocols.sessions.collecting import Member
from protocols.sessions.handover import generations
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import AbortProof
from protocols.sessions.plan import Plan
from protocols.sessions.rootwork import RootWork
from protocols.sessions.succession import Slot
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

_LABEL = "abort ballot"


def seatable(plan: Plan) -> tuple[PartyId, ...]:
    """Who sits at the root or may come to sit there; made once for each plan."""
    known = plan.derived.get(("seatable", 0))
    if not isinstance(known, tuple):
        root = plan.stages[plan.root]
        known = tuple(dict.fromkeys((*root.members, *(seat.party for seat in root.substitutes))))
        plan.derived["seatable", 0] = known
    return known


def audience(plan: Plan) -> tuple[PartyId, ...]:
    """Who is told of abort ballots: also the root's adders, who count on nobody that gave one."""
    return tuple(dict.fromkeys((plan.initiator, *seatable(plan), *plan.stages[plan.root].adders)))


def cast(plan: Plan, keys: PartyKeys, vote: AbortVote) -> AbortVote:
    """The promise, signed. Raises LocalMisuse for somebody who never sits at the root."""
    if keys.party not in seatable(plan):
        raise LocalMisuse("only those who may sit at the root have an abort ballot")
    signature = sign_statement(keys.signing_seed, _LABEL, _subject(plan.session, vote))
    return replace(vote, pledge=Pledge(keys.party, signature))


def refusal(plan: Plan, keys: PartyKeys, reason: str) -> AbortVote:
    """The ballot of who takes no part in the plan, now or later. Raises LocalMisuse as `cast`."""
    return cast(plan, keys, AbortVote("C-305", reason[:500], 0, 0, released=False))


def _subject(session: SessionId, vote: AbortVote) -> Digest:
    flags = bytes([vote.voted, vote.agreed, vote.released])
    return digest("abort", session, vote.code.encode(), vote.reason.encode(), flags)


def _is_signed(plan: Plan, vote: AbortVote) -> bool:
    if vote.pledge is None or vote.pledge.party not in seatable(plan):
        return False
    return check_statement(vote.pledge.party, _LABEL, _subject(plan.session, vote), vote.pledge.signature)


def _is_definite(chain: Sequence[Assembly], interim: int, votes: Mapping[PartyId, AbortVote]) -> bool:
    """Whether these ballots exclude that anything was or will be opened.

    `chain`: all generations up to the one that is judged; `interim`: how many gave way while they collected.
    """
    last = chain[-1]
    binding = {party: vote for party, vote in votes.items() if not vote.released}
    for assembly in chain[interim:-1]:  # they hold shares of the total
        if not all(member in binding for member in assembly.members):
            return False
    here = [binding[member] for member in last.members if member in binding]
    enough = len(last.members) - last.quorum + 1 + last.threshold
    if sum(vote.voted <= last.generation for vote in here) >= enough:
        return True
    staying = sum(vote.agreed <= last.generation for vote in here)
    idle_after = sum(vote.voted <= last.generation + 1 for vote in binding.values())
    others = len(seatable(last.plan)) - idle_after
    alone = staying >= enough or others <= len(last.members) - enough
    return len(here) == len(last.members) and alone


def check_proof(plan: Plan, proof: AbortProof) -> None:
    """Raise MalformedMessage unless `proof` shows that the session was aborted for certain."""
    votes = {vote.pledge.party: vote for vote in proof.votes if vote.pledge is not None}
    if len(votes) != len(proof.votes) or not all(_is_signed(plan, vote) for vote in proof.votes):
        raise MalformedMessage("an abort is shown by signed ballots of different parties of the root")
    chain = generations(plan, plan.root, proof.interim, proof.handovers)
    if not _is_definite(chain, len(proof.interim), votes):
        raise MalformedMessage(f"{len(proof.votes)} abort ballots do not exclude an opening")


class AbortTally:
    """Abort ballots of one session."""

    def __init__(self, plan: Plan, root: RootWork) -> None:
        """`root` knows the chain of generations."""
        self.plan = plan
        self.votes: dict[PartyId, AbortVote] = {}
        self._root = root

    def add(self, sender: PartyId, message: AbortVote) -> bool:
        """Count the first ballot of a party; whether it is. Raises UnexpectedMessage, MalformedMessage."""
        if sender not in seatable(self.plan):
            raise UnexpectedMessage("abort ballots come from those who may sit at the root")
        if message.pledge is None or message.pledge.party != sender or not _is_signed(self.plan, message):
            raise MalformedMessage("forged abort ballot", blame=sender)
        return self.votes.setdefault(sender, message) is message

    def own(self, keys: PartyKeys, code: str, reason: str, members: Mapping[Slot, Member]) -> AbortVote:
        """Our ballot, by what our `members` did at the root. Raises LocalMisuse if we never sit there."""
        seats = {slot[1] + 1: member for slot, member in members.items() if slot[0] == self.plan.root}
        voted = max((count for count, member in seats.items() if member.voted), default=0)
        agreed = max((count for count, member in seats.items() if member.gives_way), default=0)
        vote = AbortVote(code, reason, voted, max(agreed, self._root.agreed), self._root.released)
        return cast(self.plan, keys, vote)

    def promised(self, me: PartyId) -> frozenset[PartyId]:
        """Who promised to abort, `me` apart."""
        return frozenset(self.votes.keys() - {me})

    @property
    def proof(self) -> AbortProof | None:
        """The ballots that make the abort certain, if they do; the one that came first stands first."""
        if not self.votes:
            return None
        interim, handovers = self._root.links
        if not _is_definite(self._root.generations, len(interim), self.votes):
            return None
        return AbortProof(tuple(v for v in self.votes.values() if not v.released), interim, handovers)

    @property
    def words(self) -> str:
        """The ballots in short: who, the flags, the generation."""
        said = (f"{party.short()} voted {v.voted} agreed {v.agreed}{' opened' * v.released} {v.code}"
                for party, v in self.votes.items())  # fmt: skip
        return f"generation {self._root.assembly.generation}: " + "; ".join(said)

    def followed(self, me: PartyId) -> AbortVote | None:
        """The ballot that a member gives up with, because too many others did: 2t + 1 are needed to open.

        At most t of n - 2t ballots are liars' where n = 3t + 1, so no liars can bring that about alone.
        """
        latest = self._root.assembly
        gone = [vote for party, vote in self.votes.items()
                if party in latest.members and party != me and not vote.released]  # fmt: skip
        enough = len(gone) >= len(latest.members) - 2 * latest.threshold
        return gone[0] if enough and me in latest.members else None
