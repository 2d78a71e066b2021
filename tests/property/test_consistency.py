"""The degree check: honest batches pass, any inconsistent column fails, nothing leaks from the response."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import Elements, P
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse
from protocols.sharing import consistency, shamir

N, T = 7, 2


def batch(length: int, label: str = "batch") -> tuple[Elements, Elements]:
    xof = Xof(bytes(32), label)
    f = shamir.polynomials(xof.elements(length + consistency.REPETITIONS), T, xof)
    return f, shamir.shares(f, N)


@pytest.mark.parametrize("length", [0, 1, 2, 127, 128, 129, 1000, 8192])
def test_an_honest_batch_holds_for_everybody(length: int) -> None:
    f, shares = batch(length)
    rho = consistency.challenge(b"binding")
    response = consistency.respond(f, rho)
    assert response.shape == (2, T + 1)
    assert all(consistency.holds(shares[i], i + 1, rho, response) for i in range(N))


def test_the_combination_is_the_formula() -> None:
    f, shares = batch(300)
    rho = consistency.challenge(b"formula")
    combined = consistency.masked_combination(shares, rho)
    for r in range(2):
        for i in (0, 6):
            row = [int(s) for s in shares[i]]
            expected = sum(pow(int(rho[r]), k + 1, P) * row[k] for k in range(300)) + row[300 + r]
            assert int(combined[i, r]) == expected % P
    assert np.array_equal(consistency.masked_combination(shares[3], rho), combined[3])
    assert np.array_equal(combined, polynomial.evaluate(consistency.respond(f, rho).T, range(1, N + 1)))


@given(st.data())
@settings(max_examples=40)
def test_one_wrong_share_in_any_column_is_noticed_by_its_holder_only(data: st.DataObject) -> None:
    f, shares = batch(200)
    member = data.draw(st.integers(0, N - 1))
    column = data.draw(st.integers(0, 201))
    shares[member, column] = (int(shares[member, column]) + data.draw(st.integers(1, P - 1))) % P
    rho = consistency.challenge(b"binding")
    response = consistency.respond(f, rho)
    verdicts = [consistency.holds(shares[i], i + 1, rho, response) for i in range(N)]
    assert verdicts == [i != member for i in range(N)]


def test_a_column_of_higher_degree_cannot_satisfy_all_honest_members() -> None:
    """Whatever response of degree t the dealer publishes, at most t+1 members can be satisfied by chance."""
    xof = Xof(bytes(32), "higher")
    f = shamir.polynomials(xof.elements(52), T + 1, xof)
    f[T + 1, :] = 0
    f[T + 1, 17] = 1
    shares = polynomial.evaluate(f, range(1, N + 1))
    rho = consistency.challenge(b"higher")
    combined = consistency.masked_combination(shares, rho)
    for base in ([0, 1, 2], [2, 4, 6]):
        response = polynomial.interpolate([i + 1 for i in base], combined[base]).T.copy()
        satisfied = [i for i in range(N) if consistency.holds(shares[i], i + 1, rho, response)]
        assert satisfied == base


def test_challenges_depend_on_the_binding() -> None:
    first, second = consistency.challenge(b"a"), consistency.challenge(b"b")
    assert first.shape == (2,)
    assert len({*first.tolist(), *second.tolist()}) == 4
    assert np.array_equal(first, consistency.challenge(b"a"))


def test_the_response_is_fixed_by_the_masks_alone() -> None:
    """For any two payloads there are masks that give the same response: it excludes no payload."""
    f, _ = batch(50, "one")
    g, _ = batch(50, "other")
    rho = consistency.challenge(b"zk")
    wanted = consistency.respond(f, rho)
    gap = field.sub(wanted, consistency.respond(g, rho))
    g[:, 50:] = field.add(g[:, 50:], gap.T)
    assert np.array_equal(consistency.respond(g, rho), wanted)


def test_a_batch_without_masks_is_refused() -> None:
    with pytest.raises(LocalMisuse):
        consistency.masked_combination(np.zeros((3, 1), dtype=np.uint64), consistency.challenge(b""))


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 1044])
def test_many_dealings_are_judged_as_each_alone(length: int) -> None:
    dealings = [batch(length, f"dealer {i}") for i in range(5)]
    rhos = np.stack([consistency.challenge(bytes([i])) for i in range(5)])
    responses = np.stack([consistency.respond(f, rho) for (f, _), rho in zip(dealings, rhos, strict=True)])
    for member in (0, 6):
        shares = np.stack([dealt[member] for _, dealt in dealings])
        assert consistency.holds_each(shares, member + 1, rhos, responses).all()
        shares[3, -1] ^= np.uint64(1)
        shares[1, 0] ^= np.uint64(1)
        verdicts = consistency.holds_each(shares, member + 1, rhos, responses)
        assert verdicts.tolist() == [True, False, True, False, True]
        assert verdicts.tolist() == [
            consistency.holds(share, member + 1, rho, response)
            for share, rho, response in zip(shares, rhos, responses, strict=True)
        ]
    with pytest.raises(LocalMisuse):
        consistency.holds_each(np.zeros((1, 1), np.uint64), 1, rhos[:1], responses[:1])
