"""What the simulator swaps in behaves as what it swaps out."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.xof import Xof
from protocols.errors import MalformedMessage
from protocols.sessions import dealing, roster
from protocols.sharing import consistency
from protocols.wire import sealing
from tests.scenarios.pump import make_keys
from tools.sim import short_vectors, stand_ins
from tools.sim.stand_ins import fast_crypto

KEYS = make_keys(3)
REAL = {name: getattr(place, name) for place, name, _ in short_vectors.REPLACED}


@pytest.mark.parametrize("width", [2, 3, 9, 40])
def test_short_arithmetic_gives_the_same_bits(width):
    xof = Xof(bytes(32), "test")
    rows, weights, rho = xof.elements((4, width)), xof.elements(4), xof.elements(2)
    same = np.array_equal
    assert same(short_vectors.combine(weights, rows), REAL["combine"](weights, rows))
    assert same(short_vectors.total(rows), REAL["total"](rows))
    assert same(short_vectors.matmul(rows.T.copy(), weights), REAL["matmul"](rows.T.copy(), weights))
    assert same(short_vectors.matmul(rows, rows.T.copy()), REAL["matmul"](rows, rows.T.copy()))
    assert same(short_vectors.mul(rows[0], rows[1]), REAL["mul"](rows[0], rows[1]))
    assert same(short_vectors.masked_combination(rows, rho), REAL["masked_combination"](rows, rho))
    assert same(short_vectors.masked_combination(rows[0], rho), REAL["masked_combination"](rows[0], rho))
    assert same(short_vectors.evaluate_first(rows, 7), REAL["evaluate_first"](rows, 7))
    response = consistency.respond(rows, rho)
    shares = polynomial.evaluate_first(rows, 7)
    for holds in (short_vectors.holds, REAL["holds"]):
        assert holds(shares[2], 3, rho, response)
        assert not holds(shares[2], 4, rho, response)


@pytest.mark.parametrize("fast", [False, True])
def test_signatures_and_sealings_fail_in_the_same_places(fast):
    alice, bob, _ = KEYS

    def behave():
        signature = roster.sign_statement(alice.signing_seed, "a", b"text")
        seen = [
            len(signature),
            roster.check_statement(alice.party, "a", b"text", signature),
            roster.check_statement(bob.party, "a", b"text", signature),
            roster.check_statement(alice.party, "b", b"text", signature),
            dealing.check_statement(alice.party, "a", b"tex", signature),
        ]
        sealed = sealing.seal(bob.sealing_key, b"share", b"context", bytes(32))
        seen += [len(sealed), sealing.unseal(bob.sealing_secret, sealed, b"context")]
        for secret, blob, context in (
            (alice.sealing_secret, sealed, b"context"),
            (bob.sealing_secret, sealed, b"other"),
            (bob.sealing_secret, sealed[:-1] + b"x", b"context"),
            (bob.sealing_secret, b"short", b"context"),
        ):
            with pytest.raises(sealing.SealBroken):
                sealing.unseal(secret, blob, context)
        proof = sealing.disclose(bob.sealing_secret, sealed, b"context")
        seen.append(sealing.open_disclosed(bob.sealing_key, sealed, b"context", proof))
        broken = sealed[:-1] + b"x"
        proof_of_broken = sealing.disclose(bob.sealing_secret, broken, b"context")
        seen.append(sealing.open_disclosed(bob.sealing_key, broken, b"context", proof_of_broken))
        false = sealing.Disclosure(bytes(32), proof.challenge, proof.response)
        with pytest.raises(MalformedMessage):
            sealing.open_disclosed(bob.sealing_key, sealed, b"context", false)
        return seen

    wanted = [64, True, False, False, False, 5 + sealing.OVERHEAD_BYTES, b"share", b"share", None]
    if fast:
        with fast_crypto():
            assert behave() == wanted
    else:
        assert behave() == wanted


def test_a_kept_challenge_is_the_real_one():
    with fast_crypto():
        kept = consistency.challenge(b"binding")
        assert np.array_equal(kept, stand_ins._challenge(b"binding"))
        assert not np.array_equal(kept, consistency.challenge(b"another"))


def test_the_real_functions_are_back_afterwards():
    before = (sealing.seal, roster.check_statement, field.mul)
    with fast_crypto(), fast_crypto():
        assert sealing.seal is not before[0]
    assert (sealing.seal, roster.check_statement, field.mul) == before
