"""A roster, whole or in part: the groups of dealings that count, as a hash tree.

A roster's digest, which ballots sign and rosters above name, is that of its head (whose roster it is, how
many devices are behind it, which sources are in it) and of the root of a hash tree over its groups. So a
*part* of it has the same digest: the head, and at most one group's link with its path. A device needs no
more: the link names the roster below on the way to its own cluster, the head says how many count. What the
other groups are, a quorum has checked that saw them whole (see `roster`).

    group      a source, the certified roster of its sum, and the dealings by which it came
    link       the same with the dealings as a digest
    tree       Merkle root over the links' digests, in the order of the sources
    digest     H(head, tree); the head lists the sources, each once: so the tree's size and places are fixed

What follows, if H has no collisions: one digest has one head, and at one source one link, whoever shows which
part; and a source that the head does not list is not in the roster.

A cluster's own roster, which names its devices, is shown whole; so is each of a plan that goes out whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.sessions import merkle
from protocols.sessions.plan import MAX_CONTRIBUTORS, MAX_DEALERS, MAX_FAN_IN, MAX_STAGES, Seat
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between
from protocols.wire.digest import digest

StageIndex = Annotated[int, Between(0, MAX_STAGES)]
Generation = Annotated[int, Between(0, 8)]
Child = Annotated[int, Between(-1, MAX_STAGES)]


@dataclass(frozen=True, slots=True)
class Entry:
    """One dealing that counts."""

    dealer: PartyId
    dealing: Digest


@dataclass(frozen=True, slots=True)
class Group:
    """Dealings that carry one source: all devices of a cluster (`child` -1), or one stage's sum.

    `vector` names the masked sum that came with a stage's sum.
    """

    child: Child
    source: Digest
    vector: Digest
    entries: Annotated[tuple[Entry, ...], AtMost(MAX_DEALERS)]

    @property
    def link(self) -> Link:
        """What a part of the roster shows of it."""
        return Link(self.child, self.source, digest("roster group", codec.encode(self)))


@dataclass(frozen=True, slots=True)
class Link:
    """Of a group: the source, its certified roster, and the digest of the whole group."""

    child: Child
    source: Digest
    group: Digest

    @property
    def name(self) -> Digest:
        """The tree's leaf."""
        return digest("roster link", codec.encode(self))


@dataclass(frozen=True, slots=True)
class Hidden:
    """In place of a roster's groups: their sources in order, one's link or none, and the rest as hashes.

    `steps`: the path of the link, or the root of the tree alone.
    """

    children: Annotated[tuple[Child, ...], AtMost(MAX_FAN_IN + 1)]
    link: Link | None
    steps: Annotated[tuple[Digest, ...], AtMost(8)]

    @property
    def tree(self) -> Digest:
        """Root of the tree. Raises MalformedMessage where link and path do not fit the sources."""
        if len(set(self.children)) != len(self.children):
            raise MalformedMessage("a source is twice in a roster")
        if self.link is None:
            if len(self.steps) != 1:
                raise MalformedMessage("a roster without groups has the root of their tree, and nothing else")
            return self.steps[0]
        if self.link.child not in self.children:
            raise MalformedMessage(f"stage {self.link.child} is shown in a roster that it is not in")
        place = self.children.index(self.link.child)
        return merkle.root_of(self.link.name, place, len(self.children), self.steps)


@dataclass(frozen=True)
class Roster:
    """Exactly which dealings a committee adds up. `contributors` are the devices behind them, sorted.

    With `successors` it is interim: the sum goes to these seats, who collect the rest (see `handover`).
    In a plan by role a roster above the leaves names none of them, but their number as `count`, else 0; and
    it may be shown in part: then it has no groups, but what is `hidden`.
    """

    stage: StageIndex
    generation: Generation
    groups: Annotated[tuple[Group, ...], AtMost(MAX_STAGES)]
    contributors: Annotated[tuple[PartyId, ...], AtMost(MAX_CONTRIBUTORS)]
    successors: Annotated[tuple[Seat, ...], AtMost(16)] = ()
    count: Annotated[int, Between(0, MAX_CONTRIBUTORS)] = 0
    hidden: Hidden | None = None

    @property
    def is_interim(self) -> bool:
        """Whether the next generation of the same stage goes on."""
        return bool(self.successors)

    @property
    def sites(self) -> int:
        """How many devices are behind it."""
        return self.count or len(self.contributors)

    @cached_property
    def children(self) -> tuple[int, ...]:
        """Its sources, in their order."""
        return tuple(group.child for group in self.groups) if self.hidden is None else self.hidden.children

    @cached_property
    def links(self) -> dict[int, Link]:
        """By source: all of them, or the one that is shown."""
        if self.hidden is None:
            return {group.child: group.link for group in self.groups}
        return {} if self.hidden.link is None else {self.hidden.link.child: self.hidden.link}

    @cached_property
    def names(self) -> dict[SessionId, Digest]:
        """Its digest in a session, kept: every ballot, certificate and result names it anew."""
        return {}


@dataclass(frozen=True, slots=True)
class Head:
    """All of a roster but its groups."""

    stage: StageIndex
    generation: Generation
    contributors: Annotated[tuple[PartyId, ...], AtMost(MAX_CONTRIBUTORS)]
    successors: Annotated[tuple[Seat, ...], AtMost(16)]
    count: Annotated[int, Between(0, MAX_CONTRIBUTORS)]
    children: Annotated[tuple[Child, ...], AtMost(MAX_STAGES)]


def roster_digest(session: SessionId, roster: Roster) -> Digest:
    """What ballots sign. Raises MalformedMessage for a part that does not hold together."""
    known = roster.names.get(session)
    if known is None:
        if roster.hidden is not None and roster.groups:
            raise MalformedMessage("a roster is shown whole or in part")
        tree = merkle.root(_leaves(roster.groups)) if roster.hidden is None else roster.hidden.tree
        head = Head(roster.stage, roster.generation, roster.contributors, roster.successors, roster.count,
                    roster.children)  # fmt: skip
        known = roster.names[session] = digest("roster", session, codec.encode(head), tree)
    return known


def part(roster: Roster, child: int | None = None) -> Roster:
    """The roster with the link of `child`, or of none; a cluster's stays whole.

    Raises KeyError if the link is not to be had.
    """
    if roster.contributors or -1 in roster.children:
        return roster
    if roster.hidden is not None:
        link = None if child is None else roster.links[child]
        shown = roster.hidden
        if link is None and shown.link is not None:
            shown = Hidden(shown.children, None, (shown.tree,))
        return replace(roster, hidden=shown)
    leaves = _leaves(roster.groups)
    if child is None:
        return replace(roster, groups=(), hidden=Hidden(roster.children, None, (merkle.root(leaves),)))
    steps = merkle.path(leaves, roster.children.index(child))
    return replace(roster, groups=(), hidden=Hidden(roster.children, roster.links[child], steps))


def _leaves(groups: Sequence[Group]) -> list[Digest]:
    return [group.link.name for group in groups]
