"""Who is in the mesh and who is reachable: one node's picture, kept by links and gossip. Pure.

    link up                  -> ALIVE at once, whatever rumours say
    link down                -> SUSPECT at once (sessions take the next rank), rumour to all links
    rumour, no link of ours  -> SUSPECT
    higher incarnation       -> ALIVE (refuted, or back again)
    no refutation in time    -> LEFT        "leaving" announced -> LEFT
    nothing heard for long   -> SUSPECT     certificate expired -> LEFT

Sources: see announcement (SWIM incarnations), suspicion, gossip. Departure from SWIM: there are no
random probes; links have heartbeats of their own below this layer, so a direct link is the probe.

Invariants: a member's certificate was verified before it is listed; at most MAX_MEMBERS are listed;
only the member itself raises its incarnation; we refute every doubt about ourselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mesh.overlay import announcement as announcements
from mesh.overlay.announcement import Announcement, PeerRtt, Presence
from mesh.overlay.certificate import MeshIdentity, SignedCertificate
from mesh.overlay.gossip import (
    MAX_WANT,
    Inventory,
    News,
    Outbox,
    Summary,
    Want,
    news,
    summarise,
)
from mesh.overlay.profile import MembershipProfile
from mesh.overlay.roll import Entry, Roll
from mesh.overlay.suspicion import Suspicion, Suspicions, timeout_s
from mesh.overlay.view import Member, MemberChanged, Status, View
from protocols.arithmetic.xof import Xof
from protocols.errors import MalformedMessage, ProtocolError, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Effect, Publish, Send

MAX_AHEAD = 1 << 20
"""A doubt about an incarnation of ours this far ahead is nonsense, and following it would burn numbers."""


class Membership:
    """One node's membership machine. Every input returns effects; `deadline` says when `tick` is wanted."""

    def __init__(
        self,
        identity: MeshIdentity,
        certificate: SignedCertificate,
        identity_seed: bytes,
        gossip_seed: bytes,
        *,
        addresses: Sequence[str] = (),
        incarnation: int = 0,
        profile: MembershipProfile | None = None,
    ) -> None:
        self.me = certificate.certificate.party
        self._identity = identity
        self._certificate = certificate
        self._identity_seed = identity_seed
        self._gossip_seed = gossip_seed
        self._profile = profile or MembershipProfile()
        self._addresses = tuple(addresses)[: announcements.MAX_ADDRESSES]
        self._incarnation = incarnation
        self._entries = Roll()
        self._links: dict[PartyId, float | None] = {}
        self._suspicions = Suspicions()
        self._outbox = Outbox(self._profile.push_s, self._profile.fanout)
        self._syncs = 0
        self._next_sync_s = 0.0
        self._announced_s = -math.inf
        self._refute: int | None = None
        self._leaving = False

    # Inputs.

    def start(self, now: float) -> list[Effect]:
        """Announce ourselves under an incarnation above any earlier one (Unix seconds)."""
        self._incarnation = max(self._incarnation, int(now))
        self._next_sync_s = now + self._profile.sync_s
        return self._announce_self(now)

    def link_up(self, now: float, peer: PartyId) -> list[Effect]:
        """A direct link to a certified member works."""
        self._links[peer] = None
        effects: list[Effect] = [
            Send(peer, News((self._entries[self.me].announcement,), ())),
            Send(peer, self._summary()),
        ]
        doubt = self._suspicions.clear(peer)
        if doubt is not None:
            effects.append(Send(peer, doubt))
        entry = self._entries.get(peer)
        if entry is not None and not entry.announcement.presence.leaving:
            effects.append(self._set(now, peer, Status.ALIVE, "its link is up"))
        return effects + self._flush(now)

    def link_down(self, now: float, peer: PartyId, reason: str = "its link is down") -> list[Effect]:
        """No link to `peer` works any more."""
        if self._links.pop(peer, self) is self or peer not in self._entries:
            return []
        entry = self._entries[peer]
        if entry.status is Status.LEFT:
            return [self._set(now, peer, Status.LEFT, reason)]
        doubt = Suspicion(peer, entry.announcement.incarnation, self.me)
        return self._doubt(now, doubt, None, reason) + self._flush(now)

    def measured(self, peer: PartyId, rtt_s: float) -> None:
        """The link layer measured a round trip."""
        if peer in self._links:
            self._links[peer] = rtt_s

    def set_addresses(self, now: float, addresses: Sequence[str]) -> list[Effect]:
        """We listen elsewhere now."""
        wanted = tuple(addresses)[: announcements.MAX_ADDRESSES]
        if wanted == self._addresses:
            return []
        self._addresses = wanted
        return self._announce_self(now)

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye; call before shutting down and deliver the effects."""
        self._leaving = True
        return self._announce_self(now)

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """Take a gossip message of a directly linked member.

        Raises UnexpectedMessage (no link), MalformedMessage or ProtocolError (false announcement).
        """
        if sender not in self._links:
            raise UnexpectedMessage(f"gossip from {sender.short()}, to whom there is no link")
        match message:
            case News():
                effects = self._on_news(now, sender, message)
            case Summary():
                effects = self._on_summary(sender, message)
            case Inventory():
                effects = self._on_inventory(now, sender, message)
            case Want():
                effects = self._tell(sender, message.parties)
            case Suspicion():
                effects = self._on_suspicion(now, sender, message)
            case _:
                raise MalformedMessage(f"{type(message).__name__} is no gossip message")
        return effects + self._flush(now)

    def tick(self, now: float) -> list[Effect]:
        """`deadline` has passed (calling more often does no harm)."""
        effects: list[Effect] = []
        for party in self._suspicions.due(now):
            effects += self._become(now, party, Status.LEFT, "it did not come back")
        if self._refute is not None and now >= self._announced_s + self._profile.refute_s:
            self._incarnation, self._refute = max(self._incarnation, self._refute), None
            effects += self._announce_self(now)
        elif now >= self._announced_s + self._refresh_s and not self._leaving:
            effects += self._announce_self(now)
        if now >= self._next_sync_s:
            self._next_sync_s = now + self._profile.sync_s
            effects += self._sweep(now)
            effects += self._sync()
        return effects + self._flush(now)

    @property
    def deadline(self) -> float:
        """When `tick` is wanted next."""
        times = [self._next_sync_s, self._suspicions.deadline]
        if not self._leaving:
            times.append(self._announced_s + self._refresh_s)
        if self._outbox:
            times.append(self._outbox.next_s)
        if self._refute is not None:
            times.append(self._announced_s + self._profile.refute_s)
        return min(times)

    # Outputs.

    def view(self, now: float) -> View:
        """The frozen picture, without members whose certificate has expired."""
        members = tuple(
            self._member(party, entry)
            for party, entry in sorted(self._entries.items())
            if entry.expires_s > now
        )
        return View(self._identity.mesh, self.me, now, members)

    def announcement(self, party: PartyId) -> Announcement | None:
        """What `party` last said about itself, for a joiner's grant."""
        entry = self._entries.get(party)
        return entry.announcement if entry else None

    @property
    def links(self) -> tuple[PartyId, ...]:
        """Direct links, sorted."""
        return tuple(sorted(self._links))

    def _member(self, party: PartyId, entry: Entry) -> Member:
        presence = entry.announcement.presence
        return Member(
            party=party,
            certificate=entry.announcement.certificate.certificate,
            status=entry.status,
            linked=party == self.me or party in self._links,
            rtt_s=0.0 if party == self.me else self._links.get(party),
            since_s=entry.since_s,
            incarnation=presence.incarnation,
            addresses=presence.addresses,
            rtts=presence.rtts,
        )

    # News.

    def _on_news(self, now: float, sender: PartyId, message: News) -> list[Effect]:
        fresh = [each for each in message.announcements if self._is_news(now, each)]
        effects = [effect for each in fresh for effect in self._on_announcement(now, sender, each)]
        for suspicion in message.suspicions:
            effects += self._on_suspicion(now, sender, suspicion)
        return effects

    def _is_news(self, now: float, announcement: Announcement) -> bool:
        """Newer than what we have, and true. Changes nothing: a false one in a batch leaves no trace."""
        party, entry = announcement.party, self._entries.get(announcement.party)
        if entry is not None:
            ahead = announcement.incarnation - entry.announcement.incarnation
            if ahead < 0 or (ahead == 0 and (party != self.me or announcement == entry.announcement)):
                return False
        known = entry.announcement.certificate if entry else None
        try:
            announcements.verify(announcement, self._identity, now, known)
        except ProtocolError as error:
            if error.code in ("C-212", "C-213"):  # no fault of who passed it on
                return False
            raise
        return known is None or announcement.certificate.certificate.serial >= known.certificate.serial

    def _on_announcement(self, now: float, sender: PartyId, announcement: Announcement) -> list[Effect]:
        party = announcement.party
        if party == self.me:  # an earlier life of ours, or a copy of our keys
            self._refute_above(announcement.incarnation)
            return []
        entry = self._entries.get(party)
        if entry is not None and announcement.incarnation <= entry.announcement.incarnation:
            return []  # the same batch had a newer one
        self._suspicions.clear(party)
        status = Status.LEFT if announcement.presence.leaving else Status.ALIVE
        if entry is not None:
            entry.announcement, entry.heard_s = announcement, now
            self._outbox.announce(announcement, sender)
            return self._become(now, party, status, "it said so")
        forgotten = self._entries.make_room(self.me)
        if forgotten is not None:
            self._suspicions.clear(forgotten)
        if self._entries.is_full:
            return []
        self._outbox.announce(announcement, sender)
        self._entries[party] = Entry(announcement, status, now, now)
        return [self._changed(party, None, "it is new here")]

    def _on_suspicion(self, now: float, sender: PartyId, suspicion: Suspicion) -> list[Effect]:
        party = suspicion.party
        if party == self.me:
            self._refute_above(suspicion.incarnation)
            return self.tick(now) if now >= self._announced_s + self._profile.refute_s else []
        entry = self._entries.get(party)
        if (
            entry is None
            or entry.status is Status.LEFT
            or suspicion.incarnation != entry.announcement.incarnation
        ):
            return []
        if party in self._links:
            return [Send(party, suspicion)]
        return self._doubt(now, suspicion, sender, f"{suspicion.by.short()} cannot reach it")

    def _doubt(self, now: float, suspicion: Suspicion, source: PartyId | None, why: str) -> list[Effect]:
        until_s = now + timeout_s(self._profile.suspicion_s, len(self._entries))
        if not self._suspicions.raise_(suspicion, until_s):
            return []
        self._outbox.doubt(suspicion, source)
        return self._become(now, suspicion.party, Status.SUSPECT, why)

    def _refute_above(self, incarnation: int) -> None:
        if self._incarnation <= incarnation < self._incarnation + MAX_AHEAD:
            self._refute = max(incarnation, self._refute or 0)

    # Anti-entropy.

    def _summary(self) -> Summary:
        return summarise(self._entries.inventory(self._suspicions))

    def _sync(self) -> list[Effect]:
        neighbours = self._shuffled()
        return [Send(neighbours[0], self._summary())] if neighbours else []

    def _on_summary(self, sender: PartyId, message: Summary) -> list[Effect]:
        if message == self._summary():
            return []
        return [Send(sender, Inventory(tuple(self._entries.inventory(self._suspicions))))]

    def _on_inventory(self, now: float, sender: PartyId, message: Inventory) -> list[Effect]:
        effects: list[Effect] = []
        for line in message.known:
            if line.doubted:
                doubt = Suspicion(line.party, line.incarnation, sender)
                effects += self._on_suspicion(now, sender, doubt)
        wanted = self._entries.newer_elsewhere(message.known)[:MAX_WANT]
        if wanted:
            effects.append(Send(sender, Want(tuple(wanted))))
        return effects + self._tell(sender, self._entries.newer_here(message.known, self._suspicions))

    def _tell(self, peer: PartyId, parties: Sequence[PartyId]) -> list[Effect]:
        known = [party for party in parties[:MAX_WANT] if party in self._entries]
        doubts = [doubt for party in known if (doubt := self._suspicions.about(party)) and party != peer]
        return [
            Send(peer, part) for part in news([self._entries[party].announcement for party in known], doubts)
        ]

    def _shuffled(self) -> list[PartyId]:
        """Links in an order nobody predicts and a test can repeat."""
        self._syncs += 1
        links = sorted(self._links)
        keys = Xof(self._gossip_seed, "gossip-order", self._syncs.to_bytes(8, "big")).uint64(len(links))
        return [links[index] for index in keys.argsort(kind="stable")]

    # Bookkeeping.

    @property
    def _refresh_s(self) -> float:
        return self._profile.refresh_s * max(1.0, len(self._entries) / 256)

    def _announce_self(self, now: float) -> list[Effect]:
        self._incarnation += 1
        self._announced_s = now
        rtts = sorted((rtt, peer) for peer, rtt in self._links.items() if rtt is not None)[
            : announcements.MAX_RTTS
        ]
        presence = Presence(
            self.me,
            self._incarnation,
            self._leaving,
            self._addresses,
            tuple(PeerRtt(peer, announcements.coarse(rtt)) for rtt, peer in rtts),
        )
        announcement = announcements.announce(self._identity_seed, self._certificate, presence)
        status = Status.LEFT if self._leaving else Status.ALIVE
        entry = self._entries.setdefault(self.me, Entry(announcement, status, now, now))
        entry.announcement, entry.status, entry.heard_s = announcement, status, now
        self._outbox.announce(announcement, None)
        return self._flush(now)

    def _become(self, now: float, party: PartyId, status: Status, why: str) -> list[Effect]:
        """Like `_set`, but silent if nothing changes."""
        if status is Status.ALIVE:
            self._entries[party].heard_s = now
        return [] if self._entries[party].status is status else [self._set(now, party, status, why)]

    def _set(self, now: float, party: PartyId, status: Status, why: str) -> Effect:
        entry = self._entries[party]
        before, entry.status, entry.since_s, entry.heard_s = entry.status, status, now, now
        return self._changed(party, before, why)

    def _changed(self, party: PartyId, before: Status | None, why: str) -> Effect:
        entry = self._entries[party]
        name = entry.announcement.certificate.certificate.name
        return Publish(MemberChanged(party, name, before, entry.status, party in self._links, why))

    def _sweep(self, now: float) -> list[Effect]:
        """Silent members become doubtful, expired ones leave, those long gone are forgotten."""
        effects: list[Effect] = []
        for party, entry in list(self._entries.items()):
            if party == self.me:
                continue
            if entry.status is Status.LEFT:
                if now >= entry.since_s + self._profile.forget_s:
                    del self._entries[party]
                    self._suspicions.clear(party)
            elif entry.expires_s <= now:
                effects += self._become(now, party, Status.LEFT, "its certificate expired")
            elif party not in self._links and now >= entry.heard_s + 3 * self._refresh_s:
                silent = Suspicion(party, entry.announcement.incarnation, self.me)
                effects += self._doubt(now, silent, None, "nothing was heard of it")
        return effects

    def _flush(self, now: float) -> list[Effect]:
        if not self._outbox or now < self._outbox.next_s:
            return []
        order = self._shuffled() if len(self._links) > self._profile.fanout else sorted(self._links)
        return self._outbox.flush(now, self._links, order)
