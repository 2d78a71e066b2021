"""Finding out who holds a vault: every member is asked, and only what is proven counts.

A name may be taken by several owners, an id by one vault only. Of one vault the newest generation counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median_low

import structlog
import trio

from mesh.overlay.view import View
from mesh.runtime.vaults.talk import Post
from protocols.errors import ConfigError, MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.vault.messages import VaultFind, VaultFound
from protocols.vault.standing import Standing, check_standing

log = structlog.get_logger("coppice.vault")

FIND_S = 1.5
LOOK_S = 0.01
MAX_FINDS = 32


@dataclass(frozen=True, slots=True)
class Facts:
    """What the holders tell the owner: when they last renewed, and how many readings there were."""

    renewed: float
    uses: int


class Finder:
    """Questions of this node about vaults, several at a time."""

    def __init__(
        self,
        me: PartyId,
        mesh: Digest,
        post: Post,
        links: Callable[[], set[PartyId]],
        view: Callable[[], View],
    ) -> None:
        self._me = me
        self._mesh = mesh
        self._post = post
        self._links = links
        self._view = view
        self._open: dict[bytes, dict[PartyId, VaultFound]] = {}

    def receive(self, sender: PartyId, message: VaultFound) -> None:
        """The first answer of each member counts. Raises UnexpectedMessage."""
        found = self._open.get(message.id)
        if found is None or sender in found:
            raise UnexpectedMessage("an answer that nobody asked for")
        found[sender] = message

    async def find(self, name: str) -> tuple[Standing | None, tuple[str, ...]]:
        """The newest standing of the vault of that name or id, and why others ended.

        Raises ConfigError C-653 when several vaults have the name.
        """
        answers = await self._asked(name)
        newest: dict[Digest, Standing] = {}
        ended: dict[Digest, str] = {}
        for answer in answers.values():
            ended.update(dict(answer.ended))
            for standing in answer.standings:
                known = newest.get(standing.vault)
                newer = known is None or standing.generation > known.generation
                if newer and await self._is_good(standing, name, known):
                    newest[standing.vault] = standing
        live = list(newest.values())
        if len(live) > 1:
            view = self._view()
            owners = ", ".join(f"{one.vault.hex()} of {view.name(one.terms.terms.owner)}" for one in live)
            raise ConfigError(
                f"{len(live)} vaults are called {name!r}: {owners}",
                code="C-653",
                fix="name the one by its id: vault:ID.COLUMN",
            )
        return (live[0] if live else None), tuple(dict.fromkeys(ended.values()))

    async def newest(self, standing: Standing) -> tuple[Standing, Facts | None]:
        """What the holders know now of a vault of ours."""
        answers = await self._asked(standing.vault.hex())
        told: list[Facts] = []
        for sender, answer in answers.items():
            for one, renewed_s, uses in zip(answer.standings, answer.renewed_s, answer.uses, strict=False):
                newer = one.generation > standing.generation
                if newer and await self._is_good(one, standing.vault.hex(), standing):
                    standing = one
                if standing.seat_of(sender) is not None:
                    told.append(Facts(float(renewed_s), uses))
        if not told:
            return standing, None
        return standing, Facts(max(one.renewed for one in told), median_low([one.uses for one in told]))

    async def _asked(self, name: str) -> dict[PartyId, VaultFound]:
        if len(self._open) >= MAX_FINDS:
            raise UnexpectedMessage(f"{MAX_FINDS} questions about vaults are open already")
        asked = {*self._links(), self._me}
        key = os.urandom(16)
        answers = self._open[key] = {}
        self._post(asked, VaultFind(key, name))
        try:
            with trio.move_on_after(FIND_S):
                while len(answers) < len(asked):
                    await trio.sleep(LOOK_S)
        finally:
            del self._open[key]
        return answers

    async def _is_good(self, standing: Standing, name: str, known: Standing | None) -> bool:
        """Of that name, held by a quorum that we know, and proven; the cheap first."""
        terms, members = standing.terms.terms, self._view().by_party
        here = sum(party in members for party in standing.members)
        if name not in (terms.name, terms.vault.hex()) or here < terms.quorum:
            return False
        same = known if known is not None and known.vault == standing.vault else None
        try:
            await trio.to_thread.run_sync(check_standing, standing, self._mesh, same)
        except MalformedMessage as error:
            log.warning("a vault's standing is forged", why=str(error))
            return False
        return True
