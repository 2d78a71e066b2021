"""What a device knows of training runs: the certified state of each, made by itself and kept on disk.

After a round's session ended, the device that took part computes the next round from the certified total
(the session's machine has checked the certificate) and the round that it contributed to: it needs to trust
nobody for it. `check` refuses a round that contradicts one computed here. A device that was away takes a
later round as it is told: that is no worse than a new run, which anybody may start from any weights, and its
owner's policy judges each round.

So when whoever asked for the run is gone, the run has ended, and every device that took part keeps the last
certified model. Any of them can go on from it (`coppice train --resume`), with the same check by all others.

Invariant: the file of a run is replaced as a whole by a later round of it only.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import structlog
import trio

from mesh.runtime import background
from mesh.runtime.jobs.inputs import Inputs
from protocols.errors import ConfigError, MalformedMessage, MeshError
from protocols.identifiers import Digest
from protocols.learning import rounds
from protocols.learning.faults import LINEAGE, bad_model
from protocols.learning.rounds import Round
from protocols.sessions import events
from protocols.sessions.plan import Plan
from protocols.statistics import registry
from protocols.statistics.update import mean_update, round_of
from protocols.wire import codec
from protocols.wire.bounds import AtMost

log = structlog.get_logger("coppice.training")

MAX_RUNS = 64
MAX_ROUNDS_KNOWN = 4096
SETTLE_S = 3.0
"""How long a device waits for its own end of a round before it believes the requester about the next."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The file of a run: its latest round and the transcripts of the certified sessions seen here."""

    round: Round
    receipts: Annotated[tuple[Digest, ...], AtMost(MAX_ROUNDS_KNOWN)]


class Runs:
    """The runs of one node, in `folder`."""

    def __init__(self, folder: Path, inputs: Inputs) -> None:
        self._folder = folder
        self._inputs = inputs
        self._known: OrderedDict[bytes, dict[int, Digest]] = OrderedDict()
        self._receipts: dict[bytes, tuple[Digest, ...]] = {}
        self._pending: dict[bytes, tuple[int, trio.Event]] = {}
        self._writing = trio.Lock()

    # -- one round of a run -----------------------------------------------------------------------------

    async def check(self, blob: bytes) -> Round:
        """The round in `blob`, once it is certain that it contradicts nothing certified here.

        Raises ConfigError C-640 (no round), C-641 (weights that do not follow).
        """
        current, name = await background.run(_opened, blob)
        number, event = self._pending.get(current.run, (0, None))
        if event is not None and number < current.number:
            with trio.move_on_after(SETTLE_S):
                await event.wait()
        await self._recall(current.run)
        known = self._known.get(current.run, {}).get(current.number)
        if known is not None and known != name:
            raise ConfigError(
                f"round {current.number + 1} of run {current.run.hex()[:8]} does not start from the weights "
                "that the certified totals make",
                code=LINEAGE,
                fix="whoever trains goes on from the certified model, or starts a run of its own",
            )
        return current

    def contributing(self, current: Round) -> None:
        """We take part in this round: its end will tell us the next."""
        self._pending[current.run] = (current.number, trio.Event())
        while len(self._pending) > MAX_RUNS:
            self._pending.pop(next(iter(self._pending)))

    async def ended(self, plan: Plan, event: object) -> None:
        """A session about a model ended."""
        if not plan.job.inputs or not isinstance(event, events.Opened | events.Aborted):
            return
        blob = self._inputs.held(plan.job.inputs[0])
        if blob is None:
            return
        try:
            current = await background.run(round_of, plan.job, (blob,))
            if isinstance(event, events.Opened):
                after = await background.run(next_round, plan, current, event)
                if after is not None:
                    await self.keep(after, event.transcript)
        except MeshError as error:
            log.warning("round not taken over", session=plan.session.short(), why=error.sentence())
            return
        number, bell = self._pending.get(current.run, (-1, None))
        if bell is not None and number == current.number:
            del self._pending[current.run]
            bell.set()

    async def keep(self, after: Round, transcript: Digest) -> None:
        """A certified state: held, on disk when this returns, and what the next round is compared with."""
        await self._recall(after.run)
        async with self._writing:
            blob = await background.run(after.encoded)
            name = self._inputs.hold(await background.run(rounds.blob_name, blob), blob)
            known = self._known.setdefault(after.run, {})
            if known.get(after.number) == name:
                return
            known[after.number] = name
            if after.number - 2 in known:  # who is behind asks for the round before, at most
                self._inputs.forget(known[after.number - 2])
            self._known.move_to_end(after.run)
            receipts = (*self._receipts.get(after.run, ()), transcript)[-MAX_ROUNDS_KNOWN:]
            self._receipts[after.run] = receipts
            while len(self._known) > MAX_RUNS:
                forgotten, _ = self._known.popitem(last=False)
                self._receipts.pop(forgotten, None)
            await background.run(self._write, Kept(after, receipts))

    async def _recall(self, run: bytes) -> None:
        """After a restart: the state of a run that this node kept counts as before."""
        path = self._folder / f"{run.hex()}.round"
        if run in self._known or not path.is_file():
            return
        kept, name = await background.run(_read_named, path)
        if run not in self._known:
            self._known[run] = {kept.round.number: name}
            self._receipts[run] = kept.receipts

    # -- on disk ----------------------------------------------------------------------------------------

    def load(self, run: str) -> Kept:
        """The latest certified state of a run, by its id in hex or the start of it.

        Raises ConfigError C-404 if there is none, C-640 for a damaged file.
        """
        found = [path for path in self._files() if path.stem.startswith(run)] if run else []
        if len(found) != 1:
            raise ConfigError(
                f"{len(found)} models here are called {run!r}", code="C-404", fix="see: coppice models list"
            )
        return _read(found[0])

    def all(self) -> Iterator[Kept]:
        """All runs whose state is here, the newest first."""
        for path in self._files():
            yield _read(path)

    def _files(self) -> list[Path]:
        files = self._folder.glob("*.round") if self._folder.is_dir() else ()
        return sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)

    def _write(self, kept: Kept) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / f"{kept.round.run.hex()}.round"
        new = path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(codec.encode(kept))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        for old in self._files()[MAX_RUNS:]:
            old.unlink(missing_ok=True)


def next_round(plan: Plan, current: Round, opened: events.Opened) -> Round | None:
    """The round that a certified total makes of `current`; None if the job had no update."""
    first = 0
    for query in plan.job.queries:
        length = registry.length(query)
        if query.statistic == "update":
            mean, _ = mean_update(query, opened.total[first : first + length], len(opened.contributors))
            return rounds.advance(current, Digest(plan.session), mean)
        first += length
    return None


def _opened(blob: bytes) -> tuple[Round, Digest]:
    return rounds.decode(blob), rounds.blob_name(blob)


def _read_named(path: Path) -> tuple[Kept, Digest]:
    kept = _read(path)
    return kept, kept.round.name()


def _read(path: Path) -> Kept:
    try:
        return codec.decode(Kept, path.read_bytes())
    except (MalformedMessage, OSError):
        raise bad_model(f"{path} is damaged") from None
