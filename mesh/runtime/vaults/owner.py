"""What this node does as the owner of a vault: reads the file, chooses holders, deals, and has it erased.

The file is read and encoded once, here; from then on the owner is not needed. What it keeps is the standing
(proof of who holds the vault), its own order to erase once given, and who confirmed.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mesh.api.shapes import ShareSpec
from mesh.data import catalog, schema, sources
from mesh.data.errors import DataError
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.sortition import ranked
from mesh.overlay.view import View
from protocols.arithmetic.field import Elements
from protocols.errors import ConfigError, LocalMisuse, MeshError, Refused
from protocols.identifiers import Digest, PartyId
from protocols.sessions.plan import MAX_LENGTH, Job, Query, Seat
from protocols.statistics import names
from protocols.statistics import registry as statistics
from protocols.vault.consent import ANY_MEMBER
from protocols.vault.terms import MAX_HOLDERS, Consent, Terms

ANSWERS = ("count", "sum", "mean", "variance", "stddev", "histogram")


@dataclass(frozen=True, slots=True)
class Content:
    """What a file becomes: slots and their elements, (length,)."""

    slots: tuple[Query, ...]
    vector: Elements


def read(spec: ShareSpec, seed: bytes) -> Content:
    """Read and encode the file. Raises DataError, ConfigError; nothing has left the node then."""
    catalog.check_name(spec.name)
    path = Path(spec.path)
    rules = schema.load(Path(spec.schema_path)) if spec.schema_path else schema.Schema()
    contents = sources.read(path, rules, tuple(spec.columns) or None)
    columns = {name: np.array(values, dtype=np.float64) for name, values in contents.columns.items()}
    _check_answers(spec)
    slots = [Query("variance", column, ()) for column in columns]
    for bins in spec.bins:
        if bins.column not in columns:
            raise sources.no_column(spec.name, bins.column, tuple(columns))
        slots.append(Query("histogram", bins.column, tuple(float(edge) for edge in bins.edges)))
    slots.append(Query("count", sources.ANY_COLUMN, ()))
    columns[sources.ANY_COLUMN] = np.zeros(contents.rows)
    for column, values in columns.items():
        if len(values) < spec.min_rows:
            raise DataError(
                f"{path.name}: column {column!r} has {len(values)} values < min_rows {spec.min_rows}",
                code="C-651",
                fix="share more rows, fewer columns (--columns), or lower --min-rows knowingly",
            )
    length = sum(names.length(slot.statistic, slot.parameters) for slot in slots)
    if length > MAX_LENGTH or len(slots) > 256:
        raise DataError(
            f"{len(slots)} columns and histograms make {length} elements; {MAX_LENGTH} fit into a vault",
            code="C-651",
            fix="choose --columns, or share in several vaults",
        )
    job = Job(spec.name, tuple(slots), 2, "vault")
    return Content(tuple(slots), statistics.encode_job(job, columns, seed))


def _check_answers(spec: ShareSpec) -> None:
    unknown = [name for name in spec.allow if name not in ANSWERS]
    if unknown or not spec.allow:
        raise ConfigError(
            f"a vault does not answer {', '.join(unknown) or 'nothing'}",
            code="C-651",
            fix=f"allow some of {', '.join(ANSWERS)}",
        )
    if ("histogram" in spec.allow) != bool(spec.bins):
        raise ConfigError(
            "histograms are encoded at deposit: they need --allow histogram and --bins together",
            code="C-651",
            fix="for example: --allow mean,histogram --bins age=0:120:10",
        )


def terms_of(
    spec: ShareSpec,
    slots: tuple[Query, ...],
    mesh: Digest,
    owner: PartyId,
    seats: tuple[Seat, ...],
    now: float,
) -> Terms:
    """The vault's terms. Raises ConfigError for an expiry that is no date or past."""
    expires = 0
    if spec.expires is not None:
        try:
            moment = datetime.datetime.fromisoformat(spec.expires)
        except ValueError:
            raise ConfigError(
                f"{spec.expires!r} is not a date", code="C-651", fix="write 2030-01-01"
            ) from None
        expires = int((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp())
        if expires <= now:
            raise ConfigError(f"{spec.expires} is past", code="C-651", fix="choose a later date")
    rules = Consent(tuple(spec.allow), tuple(spec.requesters), spec.min_sites, spec.max_uses, expires)
    return Terms(mesh, owner, spec.name, os.urandom(32), int(now), slots, seats, spec.threshold, rules)


def strangers(spec: ShareSpec, view: View) -> tuple[str, ...]:
    """A sentence for each requester that is nobody here now: a name may be misspelt, or join later."""
    known = {ANY_MEMBER} | {name for m in view.members for name in (m.certificate.name, m.party.hex())}
    return tuple(
        f"nobody here is called {one!r} now: see coppice peers" for one in spec.requesters if one not in known
    )


def choose(
    spec: ShareSpec, view: View, record: EpochRecord, linked: set[PartyId], attempt: bytes
) -> tuple[Seat, ...]:
    """The holders: those named, else gateways by the epoch's beacon. Raises ConfigError, Refused."""
    n, t = (len(spec.at) or spec.holders), spec.threshold
    if not 1 <= t <= 5 or n < 3 * t + 1 or n > MAX_HOLDERS:
        raise ConfigError(
            f"{n} holders cannot carry a threshold of {t}: it takes 3*{t}+1 = {3 * t + 1} to {MAX_HOLDERS}, "
            "so that as many liars as the threshold are corrected",
            code="C-651",
            fix=f"use --holders {3 * t + 1} or more, or --threshold {max(1, (min(n, MAX_HOLDERS) - 1) // 3)}",
        )
    fit = {
        member.certificate.name: member
        for member in view.alive
        if member.certificate.gateway and member.party != view.me and member.party in linked
    }
    if spec.at:
        missing = [name for name in spec.at if name not in fit]
        if len(set(spec.at)) != n:
            raise ConfigError(
                "--at names a holder twice, and each keeps one fragment", code="C-651", fix="name each once"
            )
        if missing:
            raise Refused(
                f"no linked gateway is called {', '.join(missing)}",
                reasons={},
                fix="see: coppice peers",
            )
        chosen = [fit[name].party for name in spec.at]
    else:
        order = ranked(record, "vault " + attempt.hex(), [member.party for member in fit.values()])
        if len(order) < n:
            raise Refused(
                f"{len(order)} other gateways are here and {n} holders are wanted",
                reasons={},
                fix="wait for more gateways, or use fewer --holders",
            )
        chosen = list(order[:n])
    by_party = view.by_party
    return tuple(Seat(party, by_party[party].certificate.sealing_key) for party in chosen)


def failed(reasons: Sequence[tuple[PartyId, str]], name: Callable[[PartyId], str], needed: int) -> MeshError:
    """Too few holders took a share."""
    words = "; ".join(f"{name(party)}: {why}" for party, why in reasons)
    return Refused(
        f"fewer than {needed} holders took a share: {words}",
        reasons=dict(reasons),
        fix="name others with --at, or ask these to raise vault.hold_mb; nothing was kept",
    )


def unknown(name: str) -> LocalMisuse:
    """No vault of ours has this name."""
    return LocalMisuse(
        f"this node shared nothing called {name!r}", code="C-404", fix="see: coppice data shared"
    )
