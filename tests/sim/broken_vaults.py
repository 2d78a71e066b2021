"""Deliberately broken builds of vaults, one or more for each checker."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

from protocols.sharing import shamir
from protocols.vault import consent, dealing, decree, reading, recovery, renewal, terms
from tests.sim.broken_builds import Broken
from tools.sim.vault_disk import Disk
from tools.sim.vault_node import VaultNode
from tools.sim.vault_scenario import draw


def trusting_reader(patch):
    """The first t+1 shares of an answer are taken for the truth."""

    def open_vectors(points, shares, t, xof):
        return shamir.reconstruct(points, shares, t), ()

    patch.setattr(reading, "robust", SimpleNamespace(open_vectors=open_vectors))
    patch.setattr(reading, "bounded", lambda *_: None)


def kept_shares(patch):
    """What a new standing makes worthless is not erased."""
    patch.setattr(Disk, "without", lambda self, below, keep: self)


def hasty_newcomers(patch):
    """Who takes a seat over consents before it knows what was read."""
    patch.setattr(VaultNode, "learn", lambda self, standing: None)


def no_overlap(patch):
    """Answers are not compared with earlier ones."""
    patch.setattr(consent, "overlap", lambda terms, use, earlier: None)


def no_count(patch):
    """Uses are not counted."""
    patch.setattr(consent, "spent", lambda terms, uses: None)


def unwitnessed(patch):
    """One old holder's ledger is enough for a newcomer."""
    patch.setattr(terms.Terms, "witnesses", property(lambda self: 1))


def another_life(patch):
    """A holder that comes back deals by new random numbers."""
    honest = VaultNode.boot

    def boot(self):
        fresh = {
            place: dataclasses.replace(fragment, seed=bytes([self.lives]) * 32)
            for place, fragment in self.disk.fragments.items()
        }
        self.disk = dataclasses.replace(self.disk, fragments=fresh)
        honest(self)

    patch.setattr(VaultNode, "boot", boot)


def half_erased(patch):
    """An erased vault's shares stay where they are."""

    def emptied(self):
        return Disk(fragments=self.fragments, ended=self.ended, order=self.order)

    patch.setattr(Disk, "emptied", emptied)


def gullible_holders(patch):
    """Every complaint about a dealing is upheld."""
    patch.setattr(dealing, "uphold", lambda to, complaint: True)


def endless_views(patch):
    """Nobody gives a leader up that is there and says nothing."""
    patch.setattr(renewal, "VIEW_S", 1e9)


def far_votes(patch):
    """Votes of whatever view are kept."""
    patch.setattr(decree, "VIEWS_AHEAD", 10**9)


def own_rosters(patch):
    """A certificate names the words on dealings of the others only, not those that were decided on."""
    honest = renewal.Renewal._finish

    def finish(self, now, view, roster, commits):
        mine = self.standing.seat_of(self._keys.party)
        others = tuple(word for word in roster.held if word.ballot.seat != mine)
        return honest(self, now, view, dataclasses.replace(roster, held=others), commits)

    patch.setattr(renewal.Renewal, "_finish", finish)


def nothing_kept(patch):
    """Who missed a share finds nobody who kept what it is made of."""
    patch.setattr(recovery.Remains, "answer", lambda *_: None)


def _one_less(n, t):
    return (n + t) // 2


def weak_quorums(patch):
    """Quorums of one ballot less: two of them may share nobody honest."""
    patch.setattr(terms, "quorum", _one_less)
    patch.setattr(decree, "quorum", _one_less)


def weak_decrees(patch):
    """Holders decide on a roster by one vote less."""
    patch.setattr(decree, "quorum", _one_less)


BUILDS = [
    Broken(trusting_reader, draw, "right answer", 301),
    Broken(kept_shares, draw, "few shares", 1),
    Broken(hasty_newcomers, draw, "consent", 0),
    Broken(no_overlap, draw, "consent", 4),
    Broken(no_count, draw, "consent", 36),
    Broken(another_life, draw, "one voice", 33),
    Broken(half_erased, draw, "erased", 6),
    Broken(gullible_holders, draw, "blameless", 27),
    Broken(endless_views, draw, "ends", 258),
    Broken(far_votes, draw, "bounded memory", 80),
    Broken(unwitnessed, draw, "consent", 0),
    Broken(own_rosters, draw, "one generation", 0),
    Broken(nothing_kept, draw, "ends", 183),
    Broken(weak_quorums, draw, "consent", 0),
    Broken(weak_decrees, draw, "ends", 183),
]
