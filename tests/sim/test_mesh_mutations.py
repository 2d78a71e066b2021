"""Deliberately broken builds of the overlay, one for each checker of meshes, and that all are seen."""

from __future__ import annotations

import pytest

from mesh.overlay import agreement, epoch_record, epochs, membership
from tools.sim.mesh_scenario import draw
from tools.sim.runner import run

WITHIN = 1000


def small_quorum(patch):
    """As many votes as may be lies, and one more, make a record."""

    def quorum(electorate):
        return epoch_record.faults(electorate) + 1

    patch.setattr(agreement, "quorum", quorum)
    patch.setattr(epoch_record, "quorum", quorum)


def forgotten_ballots(patch):
    """A member that comes back knows nothing of its votes."""
    patch.setattr(agreement.Agreement, "restore", lambda self, cast: None)


def misquoted_epoch(patch):
    """Ballots name the current epoch instead of the next, and proofs of lock repeat a vote."""
    honest = agreement.Lock

    def lock(candidate, round_, prevotes):
        return honest(candidate, round_, (*prevotes, prevotes[0]))

    patch.setattr(agreement, "Lock", lock)


def no_refutation(patch):
    """A member that is doubted does not answer."""
    patch.setattr(membership.Membership, "_refute_above", lambda self, incarnation: None)


def deaf_followers(patch):
    """Nobody who was away asks for the records it lacks, or is told."""
    patch.setattr(epochs.EpochKeeper, "_on_head", lambda self, sender, head: [])


def endless_rounds(patch):
    """Ballots of whatever round are kept."""
    patch.setattr(agreement, "ROUNDS_AHEAD", 10**9)


MUTATIONS = [
    (small_quorum, "one chain", 0),
    (forgotten_ballots, "one voice", 0),
    (misquoted_epoch, "", 0),
    (no_refutation, "converges", 0),
    (deaf_followers, "converges", 0),
    (endless_rounds, "bounded memory", 0),
]


def first_caught(mutation, checker, seeds):
    with pytest.MonkeyPatch.context() as patch:
        mutation(patch)
        for seed in seeds:
            tally = run([draw(seed)])
            if any(v.startswith(checker) for failure in tally.failures for v in failure.violations):
                return seed
    return None


@pytest.mark.parametrize(("mutation", "checker", "seed"), MUTATIONS)
def test_the_right_checker_sees_each_broken_build(mutation, checker, seed):
    """`seed` is the first that catches it; the long test finds the new one if the draw changes."""
    assert first_caught(mutation, checker, [seed]) == seed
    assert not run([draw(seed)]).failures


@pytest.mark.long
@pytest.mark.parametrize(("mutation", "checker", "seed"), MUTATIONS)
def test_the_simulator_catches_it_within_a_thousand_seeds(mutation, checker, seed):
    assert first_caught(mutation, checker, range(WITHIN)) is not None, f"not even seed {seed}"
