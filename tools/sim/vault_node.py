"""One holder of a simulated vault: the pure machines, and around them what the daemon's holder does.

The rules are those of `mesh.runtime.vaults` (holder, answering, ledger, keeper), which move the same machines
with tasks and files; here they are plain calls. Stored before said: a share before its receipt, a use before
its consent, an erasure before its confirmation. `Renewals` is the keeper's part.

Invariant: all that survives a crash is in `disk`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from protocols.errors import MalformedMessage, ProtocolError, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Send
from protocols.sessions.messages import Ballot
from protocols.vault import consent, deposit, reading, recovery
from protocols.vault.dealing import BadShare
from protocols.vault.messages import (
    MAX_PIECE,
    Asked,
    Reading,
    VaultAsk,
    VaultBadShare,
    VaultCertified,
    VaultOffer,
    VaultOrder,
    VaultReceipt,
    VaultRelease,
    VaultUses,
    VaultUsesAsk,
    erased,
    is_asked,
    is_order,
)
from protocols.vault.recovery import VaultMissed, VaultRemains
from protocols.vault.renewal_messages import RENEWAL_MESSAGES
from protocols.vault.standing import (
    ACK,
    Deposit,
    Standing,
    before,
    check_standing,
    deposit_subject,
    is_valid,
    origin,
)
from protocols.vault.terms import check_terms
from tools.sim.mesh_plan import keys_of
from tools.sim.vault_disk import Disk, Ended, Fragment
from tools.sim.vault_renewals import Renewals

if TYPE_CHECKING:
    from tools.sim.vault_world import VaultWorld


class Crashed(Exception):
    """The process stops here."""


class VaultNode:
    """A party that may hold shares of the one vault of its world."""

    def __init__(self, world: VaultWorld, index: int) -> None:
        self.world = world
        self.index = index
        self.keys = keys_of(index)
        self.party = self.keys.party
        self.disk = Disk()
        self.up = True
        self.lives = 1
        self.undo: list[Disk] = []
        self.budget: int | None = None
        """How many more things it stores or says before it crashes, if it is to."""
        self.renewals = Renewals(self)
        self._receipts: dict[int, Ballot] = {}
        self._early: dict[PartyId, VaultReceipt] = {}
        self._next: dict[PartyId, int] = {}
        self._whole: set[PartyId] = set()

    def boot(self) -> None:
        """Come back with nothing but the disk; a crash may have come between a certificate and an erasure."""
        self.up, self.lives = True, self.lives + 1
        self.renewals = Renewals(self)
        self._receipts, self._early, self._next, self._whole = {}, {}, {}, set()
        if self.disk.standing is not None:
            self.renewals.erase_old(self.disk.standing)

    # -- storing and saying ---------------------------------------------------------------------------

    def write(self, disk: Disk) -> None:
        """Store. Raises Crashed if its time has come, Ended if there is to be nothing more of the vault."""
        if self.disk.ended and not disk.is_empty:
            raise Ended("nothing of a vault is stored after its end")
        self._spend()
        self.undo.append(self.disk)
        self.disk = disk

    def post(self, to: tuple[PartyId, ...], message: object) -> None:
        """Say something to others. Raises Crashed if its time has come."""
        self._spend()
        self.undo.clear()
        if self.party in to:  # as on the network, but at once
            self.world.at(self.world.now, self._hear_oneself, self.lives, message)
        self.world.said(self, tuple(dict.fromkeys(party for party in to if party != self.party)), message)

    def _hear_oneself(self, life: int, message: object) -> None:
        if self.up and self.lives == life:
            self.world.step(self, self.receive, self.party, message)

    def _spend(self) -> None:
        if self.budget is not None:
            if self.budget == 0:
                raise Crashed
            self.budget -= 1

    def carry(self, effects: list[Effect]) -> None:
        """Messages of a machine."""
        for effect in effects:
            if isinstance(effect, Send | Broadcast):
                self.post((effect.to,) if isinstance(effect, Send) else effect.to, effect.message)

    # -- mail -----------------------------------------------------------------------------------------

    def receive(self, sender: PartyId, message: Any) -> None:
        """Take one message. Raises ProtocolError."""
        match message:
            case VaultOffer():
                self._on_offer(sender, message)
            case VaultReceipt():
                self._on_receipt(sender, message)
            case VaultCertified():
                self._on_certified(sender, message)
            case VaultBadShare():
                self._on_bad_share(sender, message)
            case VaultAsk():
                self._on_ask(sender, message)
            case VaultRelease():
                self._on_release(sender, message)
            case VaultUsesAsk():
                self._on_uses_ask(sender, message)
            case VaultUses():
                self._on_uses(sender, message)
            case VaultOrder():
                self._on_order(sender, message)
            case Standing():
                self.renewals.on_standing(sender, message)
            case VaultMissed():
                self.renewals.on_missed(sender, message)
            case VaultRemains():
                self.renewals.on_remains(message)
            case _ if isinstance(message, RENEWAL_MESSAGES):
                self.renewals.receive(sender, message)
            case _:
                raise UnexpectedMessage(f"a holder takes no {type(message).__name__}")

    def look(self) -> None:
        """Every second."""
        self._fetch()
        self.renewals.look()

    def linked(self, peer: PartyId) -> None:
        """A peer came back."""
        disk = self.disk
        if disk.order is not None:
            if peer == disk.order.terms.terms.owner:
                self._confirm(disk.order)
            elif peer in {seat.party for seat in disk.order.terms.terms.seats}:
                self.post((peer,), disk.order)
        elif disk.standing is not None and peer in disk.standing.everyone:
            self.post((peer,), disk.standing)

    # -- deposits -------------------------------------------------------------------------------------

    def _on_offer(self, sender: PartyId, message: VaultOffer) -> None:
        terms, disk = check_terms(message.terms, self.world.mesh), self.disk
        if disk.ended:
            self.carry([deposit.decline(sender, terms.vault, "this vault ended", denied=True)])
            return
        taken = deposit.take(self.keys, sender, message)
        if isinstance(taken, BadShare):
            self.write(dataclasses.replace(disk.emptied(), ended="bad dealer"))
            self.carry(deposit.refuse(self.keys, message, taken))
            return
        place = (0, taken.dealing)
        if disk.terms is None:
            held = disk.put(place, Fragment(taken.share, self.world.dice.randbytes(32)))
            self.write(held)
            seat = next(i for i, one in enumerate(terms.seats) if one.party == self.party)
            remains = recovery.of_deposit(terms, message.deal, seat)
            self.write(dataclasses.replace(held, terms=message.terms, remains={0: remains}))
        elif place not in disk.fragments:
            raise MalformedMessage("the owner deals one vault twice", blame=sender)
        self.post((sender, *(seat.party for seat in terms.seats)), taken.receipt)
        early, self._early = self._early, {}
        for party, receipt in early.items():
            with contextlib.suppress(ProtocolError):  # a forged one must not stop the good ones
                self._on_receipt(party, receipt)

    def _on_receipt(self, sender: PartyId, message: VaultReceipt) -> None:
        disk = self.disk
        if disk.terms is None:
            self._early.setdefault(sender, message)
            return
        terms, seat = disk.terms.terms, message.ballot.seat
        subject = deposit_subject(terms.vault, message.dealing)
        if not is_valid(terms.seats, message.ballot, ACK, subject) or terms.seats[seat].party != sender:
            raise MalformedMessage("a forged receipt", blame=sender)
        if (0, message.dealing) not in disk.fragments:
            raise UnexpectedMessage("a receipt for another dealing")
        self._has_its_share(seat)
        if disk.standing is not None:
            return
        self._receipts[seat] = message.ballot
        if len(self._receipts) >= terms.quorum:
            ballots = tuple(self._receipts[seat] for seat in sorted(self._receipts))
            self._certify(Standing(disk.terms, Deposit(message.dealing, ballots), ()))

    def _on_certified(self, sender: PartyId, message: VaultCertified) -> None:
        signed = self.disk.terms
        if signed is None or signed.terms.owner != sender:
            raise UnexpectedMessage("a certificate that was not waited for")
        if self.disk.standing is not None:
            return
        standing = Standing(signed, message.deposit, ())
        check_standing(standing, self.world.mesh)
        if (0, message.deposit.dealing) not in self.disk.fragments:
            raise MalformedMessage("the certificate of another dealing", blame=sender)
        self._has_its_share(*(ballot.seat for ballot in message.deposit.ballots))
        self._certify(standing)

    def _has_its_share(self, *seats: int) -> None:
        """What these seats were dealt is kept no longer."""
        remains = self.disk.remains.get(0)
        if remains is not None and (less := remains.without(seats)) != remains:
            self.write(dataclasses.replace(self.disk, remains={**self.disk.remains, 0: less}))

    def _certify(self, standing: Standing) -> None:
        self.write(dataclasses.replace(self.disk, standing=standing, renewed_s=self.world.now))

    def _on_bad_share(self, sender: PartyId, message: VaultBadShare) -> None:
        standing = self.disk.standing
        if self.disk.terms is None or (standing is not None and standing.generation):
            raise UnexpectedMessage("a proof about a vault that we do not hold, or no longer from its owner")
        check_terms(message.terms, self.world.mesh)
        if not deposit.is_guilty(message):
            raise MalformedMessage("a proof against a vault's owner that proves nothing", blame=sender)
        self.write(dataclasses.replace(self.disk.emptied(), ended="bad dealer"))

    # -- readings -------------------------------------------------------------------------------------

    def share(self, standing: Standing) -> Fragment | None:
        """Ours of the standing's generation."""
        return self.disk.fragments.get((standing.generation, origin(standing)))

    def _standing_for(self, sender: PartyId, generation: int, wanted: Reading) -> tuple[Standing | None, str]:
        if wanted.requester != sender or self.world.vault not in wanted.vaults:
            raise MalformedMessage("a reading of somebody else, or of another vault", blame=sender)
        standing = self.disk.standing
        if standing is None:
            return None, self.disk.ended or "this node holds no share of it"
        if standing.generation != generation or standing.seat_of(self.party) is None:
            return None, f"it is in generation {standing.generation} now"
        return standing, ""

    def _decline(self, sender: PartyId, wanted: Reading, why: str, denied: bool = False) -> None:
        self.carry([deposit.decline(sender, wanted.name, why, denied=denied)])

    def _on_ask(self, sender: PartyId, message: VaultAsk) -> None:
        wanted = message.asked.reading
        standing, why = self._standing_for(sender, message.generation, wanted)
        if standing is None:
            self._decline(sender, wanted, why)
            return
        terms, use, ledger = standing.terms.terms, consent.use_of(wanted), self.disk.ledger
        words = consent.outright(terms, wanted, self.world.label(sender), self.world.now)
        if words is None:
            if self.disk.learning is not None:
                self._decline(sender, wanted, "it learns what was read before its time")
                return
            if not is_asked(message.asked):
                raise MalformedMessage("a reading that its requester did not sign", blame=sender)
            earlier = [consent.use_of(asked.reading) for asked in ledger.values()]
            words = None if use.name in ledger else consent.spent(terms, len(ledger))
            words = words or consent.overlap(terms, use, earlier)
        if words is not None:
            self._decline(sender, wanted, words, denied=True)
            return
        self._enter([message.asked])
        seat = standing.seat_of(self.party)
        assert seat is not None
        self.post((sender,), reading.consent(self.keys, standing, seat, wanted))

    def _enter(self, asked: list[Asked]) -> None:
        fresh = {consent.use_of(one.reading).name: one for one in asked}
        if not fresh.keys() <= self.disk.ledger.keys():
            self.write(dataclasses.replace(self.disk, ledger={**fresh, **self.disk.ledger}))

    def _on_release(self, sender: PartyId, message: VaultRelease) -> None:
        wanted = message.reading
        standing, why = self._standing_for(sender, message.generation, wanted)
        if standing is None:
            self._decline(sender, wanted, why)
            return
        if consent.use_of(wanted).name not in self.disk.ledger:
            raise UnexpectedMessage("a release of a reading that we did not consent to")
        reading.check_release(standing, sender, message)
        fragment, seat = self.share(standing), standing.seat_of(self.party)
        if fragment is None or seat is None:
            self._decline(sender, wanted, "this holder has no share now")
            return
        key, seed = self.world.sealing_key(sender), self.world.dice.randbytes(32)
        self.post((sender,), reading.release(standing, seat, fragment.share, message, key, seed))

    # -- the ledger of those before us ----------------------------------------------------------------

    def learn(self, standing: Standing) -> None:
        """We come to hold a seat: which ledgers we need first, to be stored with the standing."""
        wanted = frozenset(before(standing)) - {self.party}
        self._next, self._whole = {}, set()
        self.write(dataclasses.replace(self.disk, learning=(standing.generation, wanted)))

    def _fetch(self) -> None:
        if self.disk.learning is not None:
            generation, wanted = self.disk.learning
            for party in sorted(wanted - self._whole):
                ask = VaultUsesAsk(self.world.vault, generation, self._next.get(party, 0))
                self.post((party,), ask)

    def _on_uses_ask(self, sender: PartyId, message: VaultUsesAsk) -> None:
        standing = self.disk.standing
        if standing is None or standing.generation < message.generation or standing.seat_of(sender) is None:
            raise UnexpectedMessage("a ledger is shown to those who hold a seat, when their time has come")
        if self.disk.learning is not None:
            raise UnexpectedMessage("our ledger is not whole itself")
        entries = tuple(self.disk.ledger.values())[message.first : message.first + min(MAX_PIECE, 2)]
        whole = message.first + len(entries) >= len(self.disk.ledger)
        self.post((sender,), VaultUses(message.vault, message.generation, message.first, entries, whole))

    def _on_uses(self, sender: PartyId, message: VaultUses) -> None:
        learning, signed = self.disk.learning, self.disk.terms
        if learning is None or signed is None or learning[0] != message.generation:
            raise UnexpectedMessage("a ledger that we do not need")
        if sender not in learning[1] - self._whole or message.first != self._next.get(sender, 0):
            raise UnexpectedMessage("a ledger that we do not need, or a piece of it out of order")
        if not message.entries and not message.whole:
            raise MalformedMessage("a piece of a ledger with nothing in it", blame=sender)
        if not all(is_asked(asked) for asked in message.entries):
            raise MalformedMessage("a ledger with a reading that nobody asked for", blame=sender)
        self._enter([one for one in message.entries if consent.may_have_been(signed.terms, one.reading, "")])
        self._next[sender] = message.first + len(message.entries)
        if message.whole:
            self._whole.add(sender)
        if len(self._whole) >= signed.terms.witnesses:
            self.write(dataclasses.replace(self.disk, learning=None))

    # -- the end --------------------------------------------------------------------------------------

    def _on_order(self, sender: PartyId, message: VaultOrder) -> None:
        terms, disk = check_terms(message.terms, self.world.mesh), self.disk
        if not is_order(message):
            raise MalformedMessage("an order to erase that the owner did not give", blame=sender)
        if not disk.ended:  # also with nothing of it: we may be about to take a seat
            order = message if disk.standing is not None else None
            self.write(dataclasses.replace(disk.emptied(), ended="erased by its owner", order=order))
        self._confirm(message)
        if disk.terms is not None:
            known = disk.standing.everyone if disk.standing else tuple(seat.party for seat in terms.seats)
            self.post(tuple(party for party in known if party != sender), message)

    def _confirm(self, message: VaultOrder) -> None:
        terms = message.terms.terms
        word = erased(self.keys.signing_seed, self.party, terms.vault, int(self.world.now))
        self.post((terms.owner,), word)
