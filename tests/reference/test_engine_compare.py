"""Comparison, random bits and their pieces against Python integers in every committee shape."""

from __future__ import annotations

import galois
import numpy as np
import pytest

from protocols.arithmetic import field, rns
from protocols.engine import binary, bitshares, carry, dealtbit, lookahead, randombit
from protocols.engine.assembler import Assembler
from protocols.engine.committee import Committee, whole
from protocols.errors import LocalMisuse
from tools.bench.engine_lockstep import deal, reconstruct, run, seats

SHAPES = [
    whole(3, 1),
    whole(4, 1),
    whole(5, 2),
    whole(7, 2),
    whole(7, 3),
    whole(9, 4),
    Committee(7, 2, (1, 3, 4, 6, 7)),
]
IDS = [f"{c.n},{c.t},{len(c.quorum)}" for c in SHAPES]


def test_planes_and_packing_agree() -> None:
    values = np.random.default_rng(1).integers(0, 2**63, 1000, dtype=np.uint64) * np.uint64(2)
    planes = binary.planes(values, 64)
    for bit in (0, 1, 31, 32, 63):
        column = (values >> np.uint64(bit)) & np.uint64(1)
        assert np.array_equal(binary.pack(column), planes[bit])
        assert np.array_equal(binary.unpack(planes[bit], 1000), column.astype(bool))


def test_inverse_root() -> None:
    r = np.array([1, 2, 3, field.P - 1, 12345678901234567], dtype=np.uint64)
    u = randombit.inverse_root(field.mul(r, r))
    product = field.mul(u, r)
    assert set(product.tolist()) <= {1, field.P - 1}


def test_normal_forms_are_carry_and_propagate() -> None:
    for w in (1, 2, 3, 5):
        generate, propagate = carry._normal_forms(w)

        def value(form, a: int, b: int) -> int:
            return sum(1 for y, row in enumerate(form) for x in row if x & a == x and y & b == y) % 2

        for a in range(1 << w):
            for b in range(1 << w):
                assert value(generate, a, b) == (a + b) >> w
                assert value(propagate, a, b) == (a ^ b == (1 << w) - 1)


def reconstructed_bits(committee: Committee, registers: dict[int, np.ndarray]) -> np.ndarray:
    """Planes (planes, words) behind registers of all members, which must agree; `galois` is the oracle."""
    if bitshares.replicated_bits(committee):
        planes: dict[int, np.ndarray] = {}
        for point, register in registers.items():
            for row, index in enumerate(committee.sets.held(point)):
                assert np.array_equal(planes.setdefault(index, register[row]), register[row])
        return np.bitwise_xor.reduce(np.stack(list(planes.values())), axis=0)
    m = bitshares.degree(committee.n)
    gf = galois.GF(2**m, irreducible_poly=bitshares.IRREDUCIBLE[m])
    lanes = {}
    for point, register in registers.items():
        rows = np.unpackbits(register.astype("<u8").view(np.uint8), axis=-1, bitorder="little")
        lanes[point] = gf(sum(rows[a].astype(np.uint8) << a for a in range(m)))
    points, size = sorted(lanes), committee.t + 1
    found = []
    for used in (points[:size], points[-size:]):
        weights = {i: np.prod(gf([j for j in used if j != i])) for i in used}
        weights = {i: w / np.prod(gf([j ^ i for j in used if j != i])) for i, w in weights.items()}
        value = gf(np.zeros(lanes[used[0]].shape, dtype=np.uint8))
        for i in used:
            value = value + weights[i] * lanes[i]
        assert np.asarray(value).max() == 1
        found.append(np.packbits(np.asarray(value), axis=-1, bitorder="little").view("<u8"))
    assert np.array_equal(*found)
    return found[0]


@pytest.mark.parametrize("committee", SHAPES, ids=IDS)
def test_random_bits_are_bits_and_agree_in_both_forms(committee: Committee) -> None:
    build = Assembler(committee)
    share, bits = build.random_bits(200)
    done = run(build.program(share, bits), seats(committee), {})
    values = rns.to_ints(reconstruct({p: out[0] for p, out in done.outputs.items()}, committee.t))
    joint = reconstructed_bits(committee, {point: out[1] for point, out in done.outputs.items()})[0]
    assert np.array_equal(binary.unpack(joint, 200), values == 1)
    assert set(values.tolist()) == {0, 1}
    assert 60 < values.sum() < 140


@pytest.mark.parametrize(
    ("committee", "k"),
    [(c, 40) for c in SHAPES] + [(c, k) for c in (SHAPES[0], SHAPES[2]) for k in (1, 2, 8, 16, 60)],
    ids=lambda value: str(value) if isinstance(value, int) else f"{value.n},{value.t},{len(value.quorum)}",
)
def test_sign_is_exact(committee: Committee, k: int) -> None:
    top = 2**k - 1
    rng = np.random.default_rng(k)
    edge = [0, 1, -1, top, -top, top // 2, -(top // 2)]
    x = np.concatenate([edge, rng.integers(-top, top, 150, endpoint=True)])
    build = Assembler(committee)
    register = build.input()
    program = build.program(build.bit_share(build.negative(register, x.size, k)))
    done = run(program, seats(committee), {register: deal(rns.from_ints(x), committee)})
    bits = rns.to_ints(reconstruct({p: out[0] for p, out in done.outputs.items()}, committee.t))
    assert bits.tolist() == (x < 0).astype(int).tolist()
    assert done.rounds == program.rounds
    assert done.sent_bytes == {p: program.sent_bytes(committee, p) for p in committee.quorum}


def test_rounds_of_a_comparison() -> None:
    """Few lanes look ahead, many lanes use the binary tree."""
    expected = {(3, 1): (4, 5), (5, 2): (6, 9), (7, 2): (6, 9), (7, 3): (7, 10)}
    for shape, rounds in expected.items():
        for lanes, wanted in zip((10, 10**5), rounds, strict=True):
            build = Assembler(whole(*shape))
            assert build.program(build.bit_share(build.negative(build.input(), lanes, 40))).rounds == wanted


def test_both_trees_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(4).integers(-(2**30), 2**30, 100)
    for lanes in (0, 1 << 14):
        monkeypatch.setattr(lookahead, "LOOKAHEAD_LANES", lanes)
        lookahead.best_width.cache_clear()
        for committee in (whole(3, 1), whole(5, 2)):
            build = Assembler(committee)
            register = build.input()
            program = build.program(build.bit_share(build.negative(register, 100, 31)))
            done = run(program, seats(committee), {register: deal(rns.from_ints(x), committee)})
            shares = {p: out[0] for p, out in done.outputs.items()}
            assert rns.to_ints(reconstruct(shares, committee.t)).tolist() == (x < 0).astype(int).tolist()
    lookahead.best_width.cache_clear()


def test_what_a_dealer_of_bits_publishes_is_hidden() -> None:
    """Almost all of it is above 2^50, it changes with the session, and mode A takes no dealer's word."""
    committee = whole(3, 1)
    build = Assembler(committee)
    program = build.program(*build.random_bits(64))
    (dealt,) = (n for n, step in enumerate(program.steps) if isinstance(step, dealtbit.Dealt))
    dealer = committee.rotated(dealt)[0]
    one, two = (
        run(program, seats(committee, session=name), {}, record=True).transcript[0] for name in (b"a", b"b")
    )
    assert {point for point, sent in one.items() if sent.size} == {dealer}
    assert (one[dealer] > np.uint64(1 << 50)).mean() > 0.9
    assert not np.array_equal(one[dealer] & np.uint64(1), two[dealer] & np.uint64(1))
    assert not any(dealtbit.applies(c) for c in (whole(4, 1, "A"), whole(5, 2)))


def test_products_in_small_fields() -> None:
    for m in range(2, 7):
        gf = galois.GF(2**m, irreducible_poly=bitshares.IRREDUCIBLE[m])
        for a in range(1, 1 << m, 3):
            assert bitshares.times(a, bitshares.inverse(a, m), m) == 1
            assert [bitshares.times(a, b, m) for b in range(1 << m)] == [
                int(gf(a) * gf(b)) for b in range(1 << m)
            ]


def test_large_committees_compare() -> None:
    """(13, 4) has 715 key sets; a register has four rows whatever their number is."""
    committee = Committee(13, 4, (1, 2, 4, 5, 6, 8, 9, 10, 12))
    x = np.array([0, 1, -1, 255, -255])
    build = Assembler(committee)
    register = build.input()
    program = build.program(build.bit_share(build.negative(register, x.size, 8)))
    done = run(program, seats(committee), {register: deal(rns.from_ints(x), committee)})
    bits = rns.to_ints(reconstruct({p: out[0] for p, out in done.outputs.items()}, committee.t))
    assert bits.tolist() == (x < 0).astype(int).tolist()


def test_too_wide_a_comparison_is_refused() -> None:
    build = Assembler(whole(3, 1))
    with pytest.raises(LocalMisuse, match="too wide"):
        build.negative(build.input(), 4, 61)
