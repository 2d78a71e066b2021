"""Whole program sessions among pure machines: right answers, losses at every moment, bad dealings."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from protocols.programs import answers
from protocols.programs.events import Begun, Reseated
from protocols.programs.messages import Attempt, InputPart, KeyPart, Layer, OutputShare, StartCertificate
from protocols.programs.party import Finished
from protocols.programs.recipient import ProgramOpened
from protocols.sessions import events
from protocols.wire import codec
from tests.scenarios.program_pump import LIMITS, Pump, job

TABLES = [{"c": [1.5, 2.25, 9.0]}, {"c": [3.0, 4.0]}, {"c": [7.77]}, {"c": [8.0, 8.0, 1.0]}]
LINE = sorted(value for table in TABLES for value in table["c"])
WORK = job("median", "c")


def value(pump: Pump):
    outcome = pump.machines[pump.party(0)].outcome
    assert isinstance(outcome, ProgramOpened), outcome
    found = answers.read(pump.work, outcome.outputs, sum(e.rows for e in outcome.inputs))
    return found[0].value


def layers_of(pump: Pump) -> int:
    return next(e.rounds for _, e in pump.events if isinstance(e, ProgramOpened))


def test_the_median_is_exact_and_only_the_asker_learns_it() -> None:
    pump = Pump(WORK, TABLES)
    pump.run()
    assert value(pump) == np.median(LINE)
    for number in range(1, 4):
        outcome = pump.machines[pump.party(number)].outcome
        assert outcome == Finished(True, outcome.roster)
        assert len(outcome.roster) == 4
    assert not pump.refused


@pytest.mark.parametrize(
    ("statistic", "rest", "expected"),
    [
        ("quantiles", (0.0, 0.5, 1.0), (1.0, 4.0, 9.0)),
        ("minimum", (), 1.0),
        ("maximum", (), 9.0),
        ("top", (3,), (9.0, 8.0, 8.0)),
        ("at_least", (4.0, 8.0), (5, 3)),
    ],
)
def test_statistics_of_one_column(statistic, rest, expected) -> None:
    pump = Pump(job(statistic, "c", rest=rest), TABLES)
    pump.run()
    assert value(pump) == expected


def test_groups_too_small_are_hidden() -> None:
    tables = [
        {"k": [1.0, 2.0, 7.0], "v": [1.0, 2.5, 4.0]},
        {"k": [2.0, 1.0], "v": [0.5, 3.0]},
        {"k": [3.0], "v": [9.0]},
    ]
    pump = Pump(job("group_by", "k", "v", rest=(2, 1, 2, 3)), tables)
    outcome = pump.run()
    rows, sums = answers.read(pump.work, outcome.outputs, 6)
    assert rows.value == (2, 2, 0)
    assert sums.value == (4.0, 3.0, 0.0)


def test_items_flagged_by_at_least_k_sites_and_nothing_else() -> None:
    tables = [{"a": [3.0, 5.0]}, {"a": [5.0, 6.0]}, {"a": [6.0, 5.0, 9.0]}, {"a": [1.0]}]
    pump = Pump(job("flagged", "a", high=9.0, decimals=0, rest=(2,)), tables)
    pump.run()
    assert value(pump) == (5, 6)
    pump = Pump(job("overlap", "a", high=9.0, decimals=0), tables[:3])
    pump.run()
    assert value(pump) == 1


def test_a_member_outside_the_quorum_is_killed_and_nobody_waits() -> None:
    quiet = Pump(WORK, TABLES)
    quiet.run()
    pump = Pump(WORK, TABLES)

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and message.layer == 3 and pump.party(3) not in pump.dead:
            pump.kill(3, noticed=False)
        return message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    assert pump.now == pytest.approx(quiet.now)


LAYERS = 40


@pytest.mark.parametrize(
    ("killed_at", "noticed"), [(layer, layer % 8 > 3) for layer in range(0, LAYERS, 4)] + [(LAYERS - 1, True)]
)
def test_a_member_of_the_quorum_killed_at_any_layer_is_replaced(killed_at: int, noticed: bool) -> None:
    pump = Pump(WORK, TABLES)

    def hook(pump, sender, to, message):
        if (
            isinstance(message, Layer)
            and message.layer == killed_at
            and sender == pump.party(1)
            and not pump.dead
        ):
            pump.kill(1, noticed=noticed)
        return None if sender in pump.dead else message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    assert pump.dead
    begun = [e for _, e in pump.events if isinstance(e, Begun)]
    assert [b.attempt for b in begun] == [0, 1]
    assert begun[1].layer <= killed_at + 1
    assert pump.party(1) not in begun[1].members


@pytest.mark.parametrize("killed_at", [0, 7, 19, 33])
def test_with_two_of_four_gone_a_substitute_takes_over_the_registers(killed_at: int) -> None:
    pump = Pump(WORK, TABLES, substitutes=2)

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and message.layer == killed_at and not pump.dead:
            pump.kill(1)
            pump.kill(3)
        return message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    seated = [e for _, e in pump.events if isinstance(e, Reseated)]
    assert seated
    assert set(seated[0].seated) <= {pump.party(4), pump.party(5)}


def test_three_gateways_and_a_substitute_survive_one_loss() -> None:
    pump = Pump(WORK, TABLES[:3], n=3, t=1, substitutes=1)

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and message.layer == 11 and not pump.dead:
            pump.kill(2)
        return message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(sorted(v for table in TABLES[:3] for v in table["c"]))


def test_losses_one_after_the_other() -> None:
    pump = Pump(WORK, TABLES, n=7, t=2, substitutes=2)
    at = {5: 1, 15: 2, 25: 4}

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and message.layer in at:
            pump.kill(at.pop(message.layer))
        return message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    assert not at


def test_no_member_sends_two_vectors_under_one_label() -> None:
    """Under (attempt, layer) a member's vector is one, and no vector is sent again under another."""
    pump = Pump(WORK, TABLES, substitutes=1)
    sent = defaultdict(set)

    def hook(pump, sender, to, message):
        if isinstance(message, Layer):
            sent[sender, message.attempt, message.layer, message.part].add(message.words.tobytes())
            if message.layer == 9 and not pump.dead:
                pump.kill(2)
        return message

    pump.hook = hook
    pump.run()
    assert all(len(vectors) == 1 for vectors in sent.values())
    contents = Counter(words for vectors in sent.values() for words in vectors if len(words) >= 16)
    assert max(contents.values()) == 1
    assert {attempt for _, attempt, _, _ in sent} == {0, 1}


def test_an_owner_that_deals_inconsistently_is_excluded_by_name_before_the_start() -> None:
    pump = Pump(WORK, TABLES, n=4)
    cheat = pump.party(3)
    owner = pump.machines[cheat].owner
    victim_share = owner._sealed[1]

    def hook(pump, sender, to, message):
        if isinstance(message, InputPart) and sender == cheat and to == pump.party(0):
            return InputPart(message.dealing, 0, victim_share[0])  # somebody else's sealing, listed elsewhere
        return message

    pump.hook = hook
    pump.run()
    assert pump.refused
    assert value(pump) == np.median(sorted(v for table in TABLES[:3] for v in table["c"]))
    assert cheat not in pump.machines[pump.party(1)].outcome.roster


def test_a_dealer_whose_shares_lie_on_no_polynomial_is_proven_guilty(monkeypatch) -> None:
    from protocols.programs import dealing

    made = dealing.deal_input

    def crooked(keys, session, seats, t, values, rows, seed):
        if keys.party == cheat:
            real = dealing.rns.scale
            monkeypatch.setattr(dealing.rns, "scale", lambda a, k: real(a, 5 if k == 2 else k))
            try:
                return made(keys, session, seats, t, values, rows, seed)
            finally:
                monkeypatch.setattr(dealing.rns, "scale", real)
        return made(keys, session, seats, t, values, rows, seed)

    cheat = Pump(WORK, TABLES).party(3)
    monkeypatch.setattr(dealing, "deal_input", crooked)
    pump = Pump(WORK, TABLES)
    pump.run()
    named = [e for _, e in pump.events if isinstance(e, events.Named)]
    assert any(e.party == cheat and e.proven for e in named)
    assert value(pump) == np.median(sorted(v for table in TABLES[:3] for v in table["c"]))


def test_keys_that_differ_from_their_commitment_do_not_count() -> None:
    pump = Pump(WORK, TABLES)
    cheat = pump.party(2)

    def hook(pump, sender, to, message):
        if isinstance(message, KeyPart) and sender == cheat and to == pump.party(0):
            return KeyPart(message.dealing, message.sealed[:-1] + bytes([message.sealed[-1] ^ 1]))
        return message

    pump.hook = hook
    pump.run()
    assert any("sealed keys differ" in text for _, text in pump.refused)
    assert value(pump) == np.median(LINE)


@pytest.mark.parametrize(("kind", "layer"), [("short", 6), ("high", 5)])
def test_a_wrong_vector_names_its_sender_and_another_quorum_finishes(kind: str, layer: int) -> None:
    pump = Pump(WORK, TABLES)
    cheat = pump.party(1)

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and sender == cheat and message.layer == layer and message.words.size:
            words = message.words[:-1] if kind == "short" else np.full_like(message.words, 2**64 - 1)
            return replace(message, words=words)
        return message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    named = [e.party for _, e in pump.events if isinstance(e, events.Named)]
    assert cheat in named or any("point 2" in text for _, text in pump.refused)


def test_a_wrong_output_share_is_outvoted_and_named() -> None:
    pump = Pump(WORK, TABLES, n=7, t=2)
    cheat = pump.party(2)

    def hook(pump, sender, to, message):
        return None if isinstance(message, OutputShare) and sender == cheat else message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)


def test_an_initiator_cannot_have_two_rosters() -> None:
    """A second start for the same generation gets no ballot."""
    pump = Pump(WORK, TABLES)
    pump.run()
    votes = [record for _, record in pump.records if type(record).__name__ == "StartVoted"]
    assert len({record.subject for record in votes}) == 1
    member = pump.machines[pump.party(1)].member
    from protocols.errors import MalformedMessage, UnexpectedMessage
    from protocols.programs.messages import StartProposal

    other = replace(member.start, inputs=member.start.inputs[:-1])
    with pytest.raises((MalformedMessage, UnexpectedMessage)):
        member.receive(pump.now, pump.party(0), StartProposal(other))


def test_a_program_beyond_the_plan_is_refused_with_figures() -> None:
    pump = Pump(WORK, TABLES, limits=replace(LIMITS, rounds=20))
    outcome = pump.run()
    assert isinstance(outcome, events.Aborted)
    assert "needs 40 rounds, the plan allows 20" in outcome.reason
    assert outcome.definite


def test_too_few_owners_end_it_before_anything_is_computed() -> None:
    pump = Pump(job("median", "c", min_sites=4), TABLES)
    pump.machines[pump.party(3)].owner = None
    outcome = pump.run()
    assert isinstance(outcome, events.Aborted)
    assert (outcome.code, outcome.definite) == ("C-301", True)


def test_messages_and_certificates_survive_the_wire() -> None:
    pump = Pump(WORK, TABLES)
    pump.run()
    certificate = pump.machines[pump.party(2)].certificate
    assert codec.decode(StartCertificate, codec.encode(certificate)) == certificate
    assert codec.decode(Attempt, codec.encode(Attempt(0, 1, certificate.start.attempt.mark, (1, 2, 3))))


def test_mode_a_gives_the_same_answer() -> None:
    pump = Pump(WORK, TABLES, mode="A")
    pump.run()
    assert value(pump) == np.median(LINE)


@pytest.mark.parametrize("layer", [0, 5, 12])
def test_in_mode_a_a_lie_stops_the_program_before_any_output(layer: int) -> None:
    pump = Pump(WORK, TABLES, mode="A")
    cheat = pump.party(1)
    outputs = []

    def hook(pump, sender, to, message):
        if isinstance(message, OutputShare):
            outputs.append(sender)
        if isinstance(message, Layer) and sender == cheat and message.layer == layer and message.words.size:
            words = message.words.copy()
            words[0] ^= np.uint64(1)
            return replace(message, words=words)
        return message

    pump.hook = hook
    outcome = pump.run()
    assert isinstance(outcome, events.Aborted)
    assert outcome.code == "C-205"
    assert set(outputs) <= {cheat}
