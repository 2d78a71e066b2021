"""A job over vaults, from its words (`mean vault:NAME.column`) to its result."""

from __future__ import annotations

import os
import time

import trio

from mesh.api.shapes import AnswerInfo, CommitteeFacts, JobResult, JobSpec, PlanReport, RoleCost
from mesh.runtime.jobs.calculation import job_of
from mesh.runtime.jobs.records import Job as Work
from mesh.runtime.vaults.service import Vaults
from protocols.errors import ConfigError, MeshError, Refused, ThresholdLost
from protocols.sessions.plan import Job, Query
from protocols.statistics import names
from protocols.statistics import registry as statistics
from protocols.statistics.statistic import Value
from protocols.vault import consent
from protocols.vault.joint import PREFIX
from protocols.vault.messages import Reading
from protocols.vault.reading import AWAY, NO_ANSWER, Reader, ReadingFailed, ReadingOpened
from protocols.vault.standing import Standing
from protocols.vault.terms import Terms, columns

ATTEMPTS = 3
PAUSE_S = 0.5


def is_vault_job(spec: JobSpec) -> bool:
    """Whether the job is about vaults: `vault:NAME`, or several with +."""
    return PREFIX in spec.dataset


class VaultJob:
    """Runs one job of this node's person over a vault."""

    def __init__(self, vaults: Vaults, work: Work) -> None:
        self._vaults = vaults
        self._work = work
        self._started = time.monotonic()

    async def run(self) -> None:
        """Until the job has its result or an error, which it keeps."""
        try:
            self._work.finish(await self._opened())
        except MeshError as error:
            self._work.fail(error)

    async def _opened(self) -> JobResult:
        spec = self._work.info.spec
        job, reason = job_of(spec, 2), ""
        for attempt in range(1, ATTEMPTS + 1):
            self._work.phase("asking", f"asking who holds {spec.dataset}")
            standing = await located(self._vaults, spec.dataset.removeprefix(PREFIX))
            reading = Reading(
                os.urandom(16), self._vaults.me, (standing.vault,), (), job.queries, spec.purpose,
                (standing.terms.terms.owner,),
            )  # fmt: skip
            self._work.phase(
                "reading",
                f"{len(standing.seats)} holders, generation {standing.generation}: asking for consent",
            )
            outcome = await self._read(standing, reading)
            if isinstance(outcome, ReadingOpened):
                return self._result(job, standing, reading, outcome)
            for party, why in outcome.reasons:
                self._work.refused(self._vaults.view().name(party), why)
            reason = outcome.reason
            if outcome.denied:
                raise denied(outcome)
            if attempt < ATTEMPTS:  # a renewal may just have moved it
                await trio.sleep(PAUSE_S)
        raise ThresholdLost(
            f"the vault was not opened: {reason}",
            definite=False,
            fix="start the missing holders; see who: coppice data shared, coppice peers",
        )

    async def _read(self, standing: Standing, reading: Reading) -> ReadingOpened | ReadingFailed:
        unanswered(standing.terms.terms, reading.queries)
        return await self._vaults.read(Reader(self._vaults.keys, standing, reading, os.urandom(32)))

    def _result(self, job: Job, standing: Standing, reading: Reading, opened: ReadingOpened) -> JobResult:
        answers = statistics.decode_job(job, opened.values, 1)
        name = self._vaults.view().name
        for party in opened.liars:
            self._work.emit("fault", f"{name(party)} opened a wrong share (observed)", party=name(party))
        shown = tuple(
            AnswerInfo(a.statistic, a.column, _plain(a.value), a.n, a.edges, a.under, a.over) for a in answers
        )
        only = answers[0] if len(answers) == 1 else None
        terms = standing.terms.terms
        return JobResult(
            value=_plain(only.value) if only else None,
            n=only.n if only else None,
            sites=1,
            receipt=opened.receipt.hex(),
            answers=shown,
            session=reading.name.hex(),
            seconds=round(time.monotonic() - self._started, 3),
            revealed=revealed(job, terms.name),
            missing=tuple(name(p) for p in standing.members if p not in opened.holders),
            counted=(f"{PREFIX}{terms.name}",),
        )


def _plain(value: Value) -> float | int | tuple[int | float, ...] | None:
    """Answers of a vault are numbers and short tuples, never long vectors."""
    assert value is None or isinstance(value, int | float | tuple)
    return value


def unanswered(terms: Terms, queries: tuple[Query, ...]) -> None:
    """Raises Refused when the vault will never answer these queries."""
    words = consent.unserved(terms, queries)
    if words is not None:
        raise Refused(
            f"the vault does not answer this: {words}",
            reasons={},
            fix=f"it has {', '.join(column for column in columns(terms) if column != '*')}; "
            f"its owner allows {', '.join(terms.consent.allow)}",
        )


async def located(vaults: Vaults, name: str) -> Standing:
    """The vault of that name or id. Raises ConfigError C-653, C-654."""
    standing, ended = await vaults.finder.find(name)
    if standing is None:
        gone = f"; it ended: {', '.join(ended)}" if ended else ""
        raise ConfigError(
            f"nobody here holds a vault called {name!r}{gone}",
            code="C-654",
            fix="its owner shares it again, or its holders come back: coppice peers",
        )
    return standing


def denied(failed: ReadingFailed) -> Refused:
    """The owner's rules say no."""
    words = "; ".join(dict.fromkeys(why for _, why in failed.reasons if why not in (AWAY, NO_ANSWER)))
    return Refused(
        f"the vault's holders refuse by its owner's rules: {words}",
        reasons=dict(failed.reasons),
        fix="ask its owner, who decides at deposit; a vault's rules cannot be changed, only shared anew",
    )


def revealed(job: Job, name: str) -> tuple[str, ...]:
    """What the answer gives away, and to whom."""
    items = dict.fromkeys(
        item for query in job.queries for item in names.reveals(query.statistic, query.column)
    )
    return tuple(f"{item} of {PREFIX}{name}, to you alone" for item in items)


async def report(vaults: Vaults, spec: JobSpec) -> PlanReport:
    """Dry run of a job over a vault."""
    job = job_of(spec, 2)
    standing = await located(vaults, spec.dataset.removeprefix(PREFIX))
    terms, view = standing.terms.terms, vaults.view()
    here = [party for party in standing.members if view.is_alive(party)]
    n, t = len(standing.seats), terms.threshold
    members = tuple(view.name(party) for party in standing.members)
    length = sum(names.length(query.statistic, query.parameters) for query in job.queries)
    missing = [name for name in members if name not in {view.name(party) for party in here}]
    words = [f"holder {name} is away" for name in missing]
    if (why := consent.unserved(terms, job.queries)) is not None:
        words.append(f"it will be refused: {why}")
    return PlanReport(
        session="",
        participants=members,
        dealers=1,
        min_sites=terms.consent.min_sites,
        committees=(CommitteeFacts(spec.dataset, n, t, members, (), 0, n - terms.quorum, (n - 2 * t - 1)),),
        depth=1,
        dropouts=max(0, len(here) - terms.quorum),
        liars=max(0, min(t, len(here) - 2 * t - 1)),
        colluders=t + 1,
        rounds=2,
        costs=(RoleCost("holder", 8 * length + 600), RoleCost("requester", n * (600 + 80 * terms.quorum))),
        seconds=0.2,
        revealed=revealed(job, terms.name),
        warnings=tuple(words),
    )
