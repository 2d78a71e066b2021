"""Mode A: honest runs give the same results; a lie in any opening of any layer is noticed before outputs."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import rns
from protocols.engine import functions, ordering
from protocols.engine.checked import Confirm, Deviation
from protocols.engine.committee import Committee, whole
from protocols.engine.compare import OpenSign, SetTerms
from protocols.engine.decompose import OpenSum, Prefix, floor_to
from protocols.engine.evaluator import BadPayload, Evaluator
from protocols.engine.lookahead import Lookahead
from protocols.engine.multiply import Opened, Reveal
from protocols.engine.numbers import Calculator
from protocols.engine.program import Program
from protocols.engine.randombit import Signs, Spread
from protocols.errors import LocalMisuse
from tools.bench.engine_lockstep import deal, reconstruct, run, seats

FOUR, SEVEN, FIVE_OF_FIVE = whole(4, 1, "A"), whole(7, 2, "A"), whole(5, 1, "A")
COMMITTEES = [FOUR, FIVE_OF_FIVE, SEVEN, Committee(5, 1, (1, 2, 4, 5), "A")]
IDS = ["4,1", "5,1", "7,2", "5,1 of four"]
X = np.array([3.5, -2.0, 0.0, -0.25, 9.0])
Y = np.array([-1.0, -3.0, 5.0, 2.0, 0.5])


def written(committee: Committee) -> tuple[Program, list[int], int]:
    """relu(x y) revealed, floor(x): products, truncations, comparisons, bit decomposition, random bits."""
    c = Calculator(committee)
    x, y = c.given(X.shape, -10, 10), c.given(Y.shape, -10, 10)
    result = ordering.relu(c, c.truncated(c.mul(x, y, 24)))
    outputs = (result.register, c.revealed(result), floor_to(c, x, 0).register)
    return c.program(*outputs), [x.register, y.register], result.scale


def inputs_for(committee: Committee, registers: list[int]) -> dict:
    return {r: deal(rns.encode(v, 16), committee) for r, v in zip(registers, (X, Y), strict=True)}


@pytest.mark.parametrize("committee", COMMITTEES, ids=IDS)
def test_honest_runs_agree_with_the_exact_result(committee: Committee) -> None:
    program, registers, scale = written(committee)
    done = run(program, seats(committee), inputs_for(committee, registers))
    assert done.rounds == program.rounds
    assert done.sent_bytes == {p: program.sent_bytes(committee, p) for p in committee.quorum}
    shares = {p: out[0] for p, out in done.outputs.items()}
    exact = np.maximum(X * Y, 0)
    assert np.abs(rns.decode(reconstruct(shares, committee.t), scale) - exact).max() < 1e-3
    assert np.abs(rns.decode(done.outputs[1][1], scale) - exact).max() < 1e-3
    floors = reconstruct({p: out[2] for p, out in done.outputs.items()}, committee.t)
    assert np.array_equal(rns.decode(floors, 0), np.floor(X))


@pytest.mark.parametrize("committee", [FOUR, SEVEN], ids=["4,1", "7,2"])
def test_functions_and_exact_floors_in_mode_a(committee: Committee) -> None:
    c = Calculator(committee)
    x = c.given((4,), 0.5, 8.0)
    outs = (functions.reciprocal(c, x), functions.exp(c, c.affine(x, -1)), floor_to(c, x, 0))
    values = np.array([0.5, 1.75, 3.0, 8.0])
    done = run(c.program(*(o.register for o in outs)), seats(committee), {
        x.register: deal(rns.encode(values, 16), committee)
    })  # fmt: skip
    for at, (number, exact) in enumerate(
        zip(outs, (1 / values, np.exp(-values), np.floor(values)), strict=True)
    ):
        shares = {p: out[at] for p, out in done.outputs.items()}
        assert np.abs(rns.decode(reconstruct(shares, committee.t), number.scale) - exact).max() < 2e-5


def lie(
    committee: Committee, layer: int, liars: dict[int, int], victims: set[int], amount: int = 1
) -> tuple[set[int], dict[int, Evaluator]]:
    """Run with `liars` (point -> word) changing a word of their message in one layer to some victims.

    Members that noticed fall silent; the run goes on until the others lack a message. Returns who noticed.
    """
    program, registers, _ = written(committee)
    inputs = inputs_for(committee, registers)
    parties = {
        s.point: Evaluator(s, program, {r: v[s.point] for r, v in inputs.items()}) for s in seats(committee)
    }
    noticed: set[int] = set()
    while not all(p.finished for p in parties.values()):
        at = parties[min(liars)].layer
        sent = {point: party.outgoing for point, party in parties.items()}
        for point, party in parties.items():
            told = {p: m.copy() for p, m in sent.items() if p != point}
            for liar, word in liars.items():
                if at == layer and point in victims and liar in told and told[liar].size:
                    place = word % told[liar].size
                    told[liar][place] = _changed(int(told[liar][place]), amount)
            try:
                party.receive(told)
            except (Deviation, BadPayload):
                noticed.add(point)
        if noticed:  # nobody sends on, so nobody can go on: a layer takes all messages
            break
    return noticed, parties


def _changed(word: int, amount: int) -> np.uint64:
    return np.uint64(word + amount if word + amount < rns.Q else word - amount)


def layers_with(program: Program, *kinds: type) -> list[int]:
    here = [[program.steps[n] for n in layer.rounds] for layer in program.layers]
    return [at for at, steps in enumerate(here) if any(isinstance(step, kinds) for step in steps)]


def walk(committee: Committee):
    """(layer, parties, their messages) of an honest run, layer by layer."""
    program, registers, _ = written(committee)
    inputs = inputs_for(committee, registers)
    parties = {
        s.point: Evaluator(s, program, {r: v[s.point] for r, v in inputs.items()}) for s in seats(committee)
    }
    while not all(p.finished for p in parties.values()):
        sent = {point: party.outgoing for point, party in parties.items()}
        yield parties[committee.quorum[0]].layer, parties, sent
        for point, party in parties.items():
            party.receive({p: m for p, m in sent.items() if p != point})


def notices(party: Evaluator, sent: dict[int, np.ndarray], liar: int, word: int, amount: int) -> bool:
    """Whether a copy of this member stops when the liar's message differs in one word."""
    layer, registers = party.journal
    victim = Evaluator(party.seat, party.program, registers, layer)
    told = {p: m.copy() for p, m in sent.items() if p != party.seat.point}
    told[liar][word] = _changed(int(told[liar][word]), amount)
    try:
        victim.receive(told)
    except Deviation:
        with pytest.raises(Deviation):  # it has stopped for good
            victim.outgoing  # noqa: B018
        with pytest.raises(Deviation):
            victim.receive({p: m for p, m in sent.items() if p != party.seat.point})
        return not victim.finished
    except BadPayload:
        return not victim.finished
    return False


@pytest.mark.parametrize("committee", [FOUR, SEVEN], ids=["4,1", "7,2"])
def test_a_lie_in_any_layer_is_noticed_by_whoever_is_told_it(committee: Committee) -> None:
    program, _, _ = written(committee)
    kinds = (Opened, SetTerms, Signs, Spread, OpenSign, OpenSum, Prefix, Lookahead, Reveal, Confirm)
    assert all(layers_with(program, kind) for kind in kinds)
    liar = committee.quorum[-1]
    for layer, parties, sent in walk(committee):
        for word in {0, sent[liar].size // 2, sent[liar].size - 1}:
            for point in committee.quorum[:-1] if word == 0 else (1,):
                assert notices(parties[point], sent, liar, word, 1), (layer, word, point)


def test_words_all_over_every_opening_are_checked() -> None:
    for layer, parties, sent in walk(FOUR):
        for word in range(layer % 2, sent[2].size, max(1, sent[2].size // 8)):
            assert notices(parties[3], sent, 2, word, 1 << 17), (layer, word)


def test_two_liars_together_are_noticed() -> None:
    program, _, _ = written(SEVEN)
    for layer in (layers_with(program, kind)[0] for kind in (Opened, SetTerms, OpenSign)):
        noticed, _ = lie(SEVEN, layer, {2: 3, 6: 3}, {1, 3, 4, 5, 7})
        assert noticed == {1, 3, 4, 5, 7}


def test_a_lie_to_one_member_keeps_the_outputs_of_all_closed() -> None:
    """Whoever noticed is silent; the others never see a whole round again, so none of them confirms."""
    program, _, _ = written(FOUR)
    for layer in range(program.rounds - 1):
        noticed, parties = lie(FOUR, layer, {1: 0}, {4})
        assert noticed == {4}
        for party in parties.values():
            assert not party.finished
            with pytest.raises(LocalMisuse):
                party.outputs  # noqa: B018


def test_nothing_is_revealed_before_the_confirmation() -> None:
    program, _, _ = written(FOUR)
    reveal, confirm = layers_with(program, Reveal)[0], layers_with(program, Confirm)[0]
    assert confirm < reveal
    assert not [at for at in layers_with(program, Reveal) if at < confirm]


def test_inputs_on_no_polynomial_stop_the_run() -> None:
    program, registers, _ = written(FOUR)
    inputs = inputs_for(FOUR, registers)
    inputs[registers[0]][3] = rns.add(inputs[registers[0]][3], rns.from_ints(np.array([0, 0, 1, 0, 0])))
    with pytest.raises(Deviation):
        run(program, seats(FOUR), inputs)


def test_mode_p_lets_the_same_lie_pass() -> None:
    """The reason for mode A: in mode P a changed summand is a wrong result and no alarm."""
    noticed, _ = lie(whole(4, 1), 0, {1: 0}, {2, 3, 4})
    assert noticed == set()


def test_committees_that_cannot_check_are_refused() -> None:
    with pytest.raises(LocalMisuse, match="cannot notice 1 liars"):
        whole(3, 1, "A")
    with pytest.raises(LocalMisuse, match="not built"):
        whole(7, 2, "B")
    c = Calculator(whole(13, 4, "A"))
    with pytest.raises(LocalMisuse, match="opens every bit in 1287 pieces"):
        c.negative(c.given((3,), -1, 1))
    c = Calculator(whole(10, 3, "A"))
    with pytest.raises(LocalMisuse, match="210 pieces"):
        c.negative(c.given((3,), -1, 1))


def test_messages_of_a_run_say_nothing_about_inputs() -> None:
    """Shares seen by one member of an opening differ between sessions although the inputs are the same."""
    program, registers, _ = written(FOUR)
    inputs = inputs_for(FOUR, registers)
    one, two = (run(program, seats(FOUR, session=s), inputs, record=True).transcript for s in (b"a", b"b"))
    for layer in layers_with(program, Opened, SetTerms, OpenSign):
        assert not np.array_equal(one[layer][1], two[layer][1])
