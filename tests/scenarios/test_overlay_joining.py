"""Certificates, tickets and joining: the good path and every bad one with its own sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.overlay import certificate as certificates
from mesh.overlay import joining
from mesh.overlay import ticket as tickets
from mesh.overlay.joining import Applicant, TicketBook
from mesh.overlay.ticket import SignedTicket, Ticket
from protocols.arithmetic.xof import derive
from protocols.errors import ConfigError, LocalMisuse, ProtocolError
from protocols.machine import Persist
from protocols.wire import codec
from tests.scenarios.overlay_mesh import IDENTITY, NOW, OPERATOR_SEED, Peer, make_peer

ALICE, BOB, EVE = make_peer(0), make_peer(1), make_peer(2)


def make_ticket(index: int = 0, expires_s: int = int(NOW) + tickets.DEFAULT_VALID_S) -> Ticket:
    label = index.to_bytes(2, "big")
    return Ticket(
        id=derive(bytes(32), "ticket-id", label)[:16],
        operator=IDENTITY.operator,
        inviter=ALICE.party,
        addresses=("/ip4/192.168.1.20/tcp/4001", "/dns4/gate.example/tcp/4001"),
        issued_s=int(NOW),
        expires_s=expires_s,
        network_key=derive(bytes(32), "psk"),
        secret=derive(bytes(32), "ticket-secret", label)[:16],
    )


def applicant(peer: Peer) -> Applicant:
    c = peer.certificate
    return Applicant(c.party, c.name, c.site, c.sealing_key, c.vrf_key, c.gateway)


SIGNED = tickets.issue(OPERATOR_SEED, make_ticket())
TEXT = tickets.to_text(SIGNED)


def code_of(caught: pytest.ExceptionInfo[ProtocolError]) -> str:
    assert caught.value.fix or caught.value.code.startswith("C-22")
    return caught.value.code


class TestCertificate:
    def test_good(self) -> None:
        assert certificates.verify(ALICE.signed, IDENTITY, NOW) == ALICE.certificate

    def test_expired_names_holder_and_fix(self) -> None:
        with pytest.raises(ProtocolError, match=r"p0 .* expired 5 s ago") as caught:
            certificates.verify(ALICE.signed, IDENTITY, ALICE.certificate.expires_s + 5)
        assert code_of(caught) == "C-212"

    def test_not_yet_valid_allows_for_clock_skew(self) -> None:
        issued_s = ALICE.certificate.issued_s
        certificates.verify(ALICE.signed, IDENTITY, issued_s - certificates.CLOCK_SKEW_S)
        with pytest.raises(ProtocolError, match="becomes valid in") as caught:
            certificates.verify(ALICE.signed, IDENTITY, issued_s - certificates.CLOCK_SKEW_S - 1)
        assert code_of(caught) == "C-213"

    def test_of_another_mesh(self) -> None:
        foreign = make_peer(0, operator_seed=derive(bytes(32), "another operator"))
        with pytest.raises(ProtocolError, match="is for mesh") as caught:
            certificates.verify(foreign.signed, IDENTITY, NOW)
        assert code_of(caught) == "C-210"

    @pytest.mark.parametrize(
        "change",
        [
            {"weight": 16},
            {"gateway": False},
            {"site": "elsewhere"},
            {"party": BOB.party},
            {"expires_s": 2**39},
            {"sealing_key": bytes(32)},
        ],
    )
    def test_any_change_is_a_forgery(self, change: dict[str, object]) -> None:
        forged = replace(ALICE.signed, certificate=replace(ALICE.certificate, **change))
        with pytest.raises(ProtocolError, match="forged") as caught:
            certificates.verify(forged, IDENTITY, NOW)
        assert code_of(caught) == "C-211"

    @pytest.mark.parametrize("name", ["", " a", "a\n", "\x1b[31mred", "x" * 49, "ü" * 25])
    def test_names_that_would_spoil_a_terminal(self, name: str) -> None:
        with pytest.raises(ConfigError, match="name"):
            certificates.issue(OPERATOR_SEED, replace(ALICE.certificate, name=name))


class TestTicketText:
    def test_round_trip_whatever_case_and_spacing(self) -> None:
        spaced = "\n".join(TEXT.upper()[i : i + 60] for i in range(0, len(TEXT), 60)) + " "
        for text in (TEXT, TEXT.upper(), spaced, TEXT[:20] + "-" + TEXT[20:]):
            assert tickets.from_text(text) == SIGNED
        assert tickets.verify(SIGNED, NOW) == SIGNED.ticket

    def test_secrets_stay_out_of_repr(self) -> None:
        shown = repr(SIGNED)
        assert SIGNED.ticket.secret.hex() not in shown
        assert str(SIGNED.ticket.secret) not in shown
        assert str(SIGNED.ticket.network_key) not in shown

    @pytest.mark.parametrize("kept", [*range(9, 30), 100, len(TEXT) - 8, len(TEXT) - 3, len(TEXT) - 1])
    def test_cut_off(self, kept: int) -> None:
        with pytest.raises(ProtocolError, match="cut off") as caught:
            tickets.from_text(TEXT[:kept])
        assert code_of(caught) == "C-220"

    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(len(tickets.PREFIX) + 4, len(TEXT) - 1),
        st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"),
    )
    def test_one_wrong_character(self, at: int, character: str) -> None:
        if TEXT[at] == character:
            return
        with pytest.raises(ProtocolError, match=r"damaged|cut off|version"):
            tickets.from_text(TEXT[:at] + character + TEXT[at + 1 :])

    @pytest.mark.parametrize(
        "text", ["", "hello", "coppice2:aaaa", "coppice1", TEXT + "1" * 20, "coppice1:" + "a" * 9000]
    )
    def test_no_ticket_at_all(self, text: str) -> None:
        with pytest.raises(ProtocolError) as caught:
            tickets.from_text(text)
        assert code_of(caught) == "C-220"

    @settings(max_examples=60, deadline=None)
    @given(st.text(max_size=80))
    def test_any_text_is_refused_cleanly(self, text: str) -> None:
        with pytest.raises(ProtocolError):
            tickets.from_text(tickets.PREFIX + text)

    def test_expired(self) -> None:
        with pytest.raises(ProtocolError, match="expired 60 s ago") as caught:
            tickets.verify(SIGNED, NOW + tickets.DEFAULT_VALID_S + 60)
        assert code_of(caught) == "C-222"

    def test_forged(self) -> None:
        later = SignedTicket(replace(SIGNED.ticket, expires_s=2**39), SIGNED.signature)
        with pytest.raises(ProtocolError, match="forged") as caught:
            tickets.verify(tickets.from_text(tickets.to_text(later)), NOW)
        assert code_of(caught) == "C-221"


class TestJoining:
    def book(self) -> TicketBook:
        book = TicketBook(OPERATOR_SEED)
        text, effects = book.issue(NOW, make_ticket())
        assert text == TEXT
        assert len(effects) == 1
        assert isinstance(effects[0], Persist)
        return book

    def test_join(self) -> None:
        book, message = self.book(), joining.request(make_ticket(), applicant(BOB), BOB.seed)
        message = codec.decode(joining.JoinRequest, codec.encode(message))
        assert book.judge(NOW, message) is None
        signed, effects = book.accept(NOW, message, weight=3)
        certificate = certificates.verify(signed, IDENTITY, NOW)
        assert (certificate.party, certificate.weight, certificate.serial) == (BOB.party, 3, 1)
        assert [type(effect) for effect in effects] == [Persist]

    def test_asking_again_gets_the_same_certificate_and_stores_nothing(self) -> None:
        book, message = self.book(), joining.request(make_ticket(), applicant(BOB), BOB.seed)
        first, _ = book.accept(NOW, message)
        assert book.accept(NOW + 5, message) == (first, [])

    def test_ticket_admits_one_party(self) -> None:
        book = self.book()
        book.accept(NOW, joining.request(make_ticket(), applicant(BOB), BOB.seed))
        refusal = book.judge(NOW, joining.request(make_ticket(), applicant(EVE), EVE.seed))
        assert refusal is not None
        assert (refusal.code, refusal.final) == ("C-226", True)
        assert "already used by p1" in refusal.reason

    @pytest.mark.parametrize("name", ["p1", "P1", "\uff30\uff11"])
    def test_a_name_belongs_to_one_party(self, name: str) -> None:
        """Else a second ticket would let its holder pass for a requester that a policy names."""
        book = self.book()
        first = joining.request(make_ticket(), applicant(BOB), BOB.seed)
        _, effects = book.accept(NOW, first)
        again = TicketBook(OPERATOR_SEED)
        assert isinstance(effects[0], Persist)
        again.restore(effects[0].record)
        eve = joining.request(make_ticket(1), replace(applicant(EVE), name=name), EVE.seed)
        for each in (book, again):
            each.issue(NOW, make_ticket(1))
            refusal = each.judge(NOW, eve)
            assert refusal is not None
            assert refusal.code == "C-229"
        assert book.judge(NOW, first) is None

    def test_the_founders_name_is_taken_too(self) -> None:
        founder = BOB.certificate
        book = TicketBook(OPERATOR_SEED, founder=founder)
        book.issue(NOW, make_ticket(1))
        message = joining.request(make_ticket(1), replace(applicant(EVE), name=founder.name), EVE.seed)
        refusal = book.judge(NOW, message)
        assert refusal is not None
        assert refusal.code == "C-229"

    def test_a_restarted_inviter_remembers(self) -> None:
        book, again = self.book(), TicketBook(OPERATOR_SEED)
        again.restore(joining.TicketIssued(SIGNED))
        message = joining.request(make_ticket(), applicant(BOB), BOB.seed)
        signed, effects = book.accept(NOW, message)
        assert isinstance(effects[0], Persist)
        again.restore(effects[0].record)
        assert again.accept(NOW, message) == (signed, [])
        assert again.judge(NOW, joining.request(make_ticket(), applicant(EVE), EVE.seed)) is not None
        again.issue(NOW, make_ticket(1))
        later, _ = again.accept(NOW, joining.request(make_ticket(1), applicant(EVE), EVE.seed))
        assert later.certificate.serial == 2

    @pytest.mark.parametrize(
        ("defect", "code"),
        [
            ("unknown ticket", "C-223"),
            ("expired", "C-222"),
            ("swapped key", "C-224"),
            ("no secret", "C-224"),
            ("other signer", "C-225"),
            ("ugly name", "C-120"),
        ],
    )
    def test_refusals(self, defect: str, code: str) -> None:
        book, now = self.book(), NOW
        message = joining.request(make_ticket(), applicant(BOB), BOB.seed)
        match defect:
            case "unknown ticket":
                message = joining.request(make_ticket(7), applicant(BOB), BOB.seed)
            case "expired":
                now += tickets.DEFAULT_VALID_S
            case "swapped key":
                message = replace(
                    message, applicant=replace(message.applicant, sealing_key=EVE.certificate.sealing_key)
                )
            case "no secret":
                guess = replace(make_ticket(), secret=bytes(16))
                message = joining.request(guess, applicant(BOB), BOB.seed)
            case "other signer":
                message = joining.request(make_ticket(), applicant(BOB), EVE.seed)
            case "ugly name":
                message = joining.request(make_ticket(), replace(applicant(BOB), name="a\tb"), BOB.seed)
        refusal = book.judge(now, message)
        assert refusal is not None
        assert refusal.code == code
        assert refusal.reason
        with pytest.raises((ProtocolError, ConfigError)):
            book.accept(now, message)

    def test_phrase_is_equal_only_for_the_same_ticket_and_keys(self) -> None:
        phrase = joining.phrase(make_ticket(), applicant(BOB))
        assert phrase == joining.phrase(tickets.from_text(TEXT).ticket, applicant(BOB))
        assert [len(group) for group in phrase.split()] == [4, 4, 4, 4]
        others = {
            joining.phrase(make_ticket(), applicant(EVE)),
            joining.phrase(make_ticket(1), applicant(BOB)),
            joining.phrase(make_ticket(), replace(applicant(BOB), vrf_key=EVE.certificate.vrf_key)),
        }
        assert phrase not in others
        assert len(others) == 3

    def test_open_tickets_are_bounded_and_expired_ones_forgotten(self) -> None:
        book = TicketBook(OPERATOR_SEED)
        for index in range(joining.MAX_OPEN_TICKETS):
            book.issue(NOW, make_ticket(index))
        with pytest.raises(LocalMisuse, match="are open"):
            book.issue(NOW, make_ticket(9999))
        book.issue(NOW + tickets.DEFAULT_VALID_S, make_ticket(9999, expires_s=2**39))
