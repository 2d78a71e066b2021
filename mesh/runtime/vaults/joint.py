"""A job over several vaults, or vaults and live sites: consents, then a session in which the holders deal.

Holders that dealt something else than their shares are named, and the sum is taken again without them. The
dealers' side is `joints`.
"""

from __future__ import annotations

import os
from dataclasses import replace

from mesh.api.shapes import JobResult
from mesh.overlay.planner import plan_shares
from mesh.runtime.jobs.attempts import ATTEMPTS
from mesh.runtime.jobs.calculation import Calculation, job_of, refusals_of
from mesh.runtime.jobs.inquiry import Inquiry
from mesh.runtime.vaults.job import denied, located, revealed, unanswered
from protocols.errors import (
    ConfigError,
    MeshError,
    SessionAborted,
    ThresholdLost,
    TooFewDealers,
    UnattributableFault,
)
from protocols.identifiers import PartyId
from protocols.sessions import codewords, events
from protocols.sessions.plan import MAX_LENGTH, Job, Plan
from protocols.vault.joint import PREFIX, Part, VaultJoint
from protocols.vault.messages import Reading
from protocols.vault.reading import Asking, ReadingFailed
from protocols.vault.standing import Standing


class JointJob(Calculation):
    """Runs one job of this node's person over several vaults."""

    async def run(self) -> None:
        """Until the job has its result or an error, which it keeps."""
        try:
            with self.listening():
                self._work.finish(await self._added_up())
        except MeshError as error:
            self._work.fail(error)

    async def _added_up(self) -> JobResult:
        spec = self._work.info.spec
        job = job_of(spec, 2)
        vaults = self._node.vaults
        avoided: set[PartyId] = set()
        error: SessionAborted | None = None
        for attempt in range(ATTEMPTS):
            if error is not None:
                await self._again(error, attempt)
                avoided |= self._unwilling()
            self._work.phase("asking", f"asking the holders of {spec.dataset}")
            live, names = parts_of(spec.dataset)
            standings = [await located(vaults, name) for name in names]
            ids = tuple(standing.vault for standing in standings)
            sites = await self._sites(live, job)
            if len(ids) + len(sites) < job.min_sites:
                raise _too_few(len(ids), len(sites), job.min_sites)
            owners = tuple(standing.terms.terms.owner for standing in standings)
            reading = Reading(os.urandom(16), vaults.me, ids, sites, job.queries, spec.purpose, owners)
            parts = [await self._part(standing, reading, avoided) for standing in standings]
            if None in parts:
                error = ThresholdLost("too few holders answered", definite=True, fix="see: coppice peers")
                continue
            joint = VaultJoint(reading, tuple(part for part in parts if part is not None), live)
            plan = self._planned(job, joint)
            vaults.post(joint.dealers, joint)
            outcome = await self._session(plan)
            if isinstance(outcome, events.Opened):
                assert plan.codes is not None
                lied = codewords.liars(plan.codes, outcome.total)
                try:
                    return await self._shown_result(plan, job, joint, outcome)
                except UnattributableFault as fault:
                    error = self._found_out(lied, str(fault))
                    avoided |= set(lied)
                    continue
            error = self._error(outcome)
            if not outcome.definite:
                raise error
            avoided |= {party for party in joint.dealers if not vaults.view().is_alive(party)}
        assert error is not None
        raise error

    def _unwilling(self) -> set[PartyId]:
        """Dealers that declined the last plan; none if its epoch is over by now: they may take the next."""
        plan = self._plan
        if plan is None or plan.epoch < self._node.overlay.keeper.record.epoch:
            return set()
        return self._declined.intersection(plan.dealers)

    def _found_out(self, liars: tuple[PartyId, ...], fault: str) -> SessionAborted:
        names = [self._node.overlay.view().name(party) for party in liars]
        for name in names:
            self._work.emit("fault", f"{name} dealt something else than its share (observed)", party=name)
        return ThresholdLost(
            f"{fault}: {', '.join(names) or 'too few dealt to tell who'}",
            definite=False,
            fix="start the vault's missing holders: with 3T+1 of them liars are told apart and left out",
        )

    async def _sites(self, live: str, job: Job) -> tuple[PartyId, ...]:
        """Live sites whose owners would contribute, sorted; none without a live data set."""
        if not live:
            return ()
        picture = self._node.picture()
        count, threshold = min(len(picture.view.alive), 4096), 1
        poll = await self._node.poll(Inquiry(os.urandom(16), replace(job, dataset=live), count, threshold))
        for party, why in sorted(refusals_of(poll).items()):
            self._work.refused(picture.view.name(party), why)
        return tuple(sorted(party for party in poll.willing if picture.view.is_alive(party)))

    async def _part(self, standing: Standing, reading: Reading, avoided: set[PartyId]) -> Part | None:
        """Consents, and those who gave theirs as dealers; None if too few are here to check each other."""
        vaults, terms = self._node.vaults, standing.terms.terms
        unanswered(terms, reading.queries)
        asking = Asking(vaults.keys, standing, reading, os.urandom(32))
        outcome = await vaults.read(asking)
        if isinstance(outcome, ReadingFailed):
            for party, why in outcome.reasons:
                self._work.refused(vaults.view().name(party), why)
            if outcome.denied:
                raise denied(outcome)
            return None
        assert asking.consented is not None
        fit = [ballot.seat for ballot in asking.consented.ballots]
        seats = tuple(sorted(seat for seat in fit if standing.members[seat] not in avoided))
        if len(seats) <= 2 * terms.threshold:
            return None
        return Part(standing, seats, asking.consented.ballots)

    def _planned(self, job: Job, joint: VaultJoint) -> Plan:
        picture = self._node.picture()
        dealers = joint.dealers
        whole = replace(job, dataset=PREFIX + joint.name.hex(), min_sites=len(dealers))
        if joint.codes.length > MAX_LENGTH:
            raise ConfigError(
                f"the sum takes {joint.codes.length} elements; {MAX_LENGTH} fit into a session",
                code="C-655",
                fix="ask fewer statistics at a time, or over fewer vaults with the same holders",
            )
        return plan_shares(
            picture.view, picture.record, picture.standings, whole, joint.codes,
            nonce=os.urandom(32), limits=self._node.limits,
        )  # fmt: skip

    async def _shown_result(
        self, plan: Plan, job: Job, joint: VaultJoint, opened: events.Opened
    ) -> JobResult:
        names = [PREFIX + part.standing.terms.terms.name for part in joint.parts]
        whole = "+".join([*names, *([joint.dataset] if joint.dataset else [])])
        result = await self._result(plan, revealed(job, whole), opened)
        names += [self._node.overlay.view().name(site) for site in joint.reading.sites]
        return replace(result, sites=len(names), counted=tuple(names))


def parts_of(dataset: str) -> tuple[str, list[str]]:
    """(live data set or "", vaults) of `rows+vault:A+vault:B`. Raises ConfigError C-655."""
    parts = dataset.split("+")
    names = [part.removeprefix(PREFIX) for part in parts if part.startswith(PREFIX)]
    live = [part for part in parts if not part.startswith(PREFIX)]
    if not all(parts) or not all(names) or not names or len(live) > 1:
        raise ConfigError(
            f"{dataset!r} is no sum of vaults and at most one data set of live sites",
            code="C-655",
            fix="write vault:A, vault:A+vault:B or ROWS+vault:A",
        )
    if len(set(names)) != len(names):
        raise ConfigError(f"{dataset!r} names a vault twice", code="C-655", fix="name each once")
    return "".join(live), names


def is_joint(dataset: str) -> bool:
    """Whether it is more than one vault. Raises ConfigError C-655."""
    live, names = parts_of(dataset)
    return bool(live) or len(names) > 1


def _too_few(vaults: int, sites: int, wanted: int) -> TooFewDealers:
    return TooFewDealers(
        f"{vaults} vaults and {sites} live sites would contribute, {wanted} are required",
        definite=True,
        fix="wait for more sites, or ask with a smaller --min-sites",
    )
