"""The data room of a node: its data sets, their owners' consent, and its contribution to a session.

The order of a session, for the runtime:
  1. `authorize(plan, me, name)` judges the plan by the owner's policy; an approval is stored, bound to
     the plan's session id, which is the digest of job, parties, threshold and outputs.
  2. `contribution(plan, seed)` reads the file, checks that it is the one that was added, and encodes
     it; without a stored approval of exactly this plan it refuses.
  3. `record_use(plan, …)` writes down what was opened over which roster, or that nothing was.

All calls block (files, SQLite): a trio program runs them in a thread. Any thread may call any method.
Importing this module imports neither numpy nor the protocols' machines.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.data import asking, job_files, overlap, policy, schema, sources
from mesh.data.catalog import Catalog, DatasetInfo, check_name, check_unchanged
from mesh.data.errors import DataError
from mesh.data.ledger import Ledger
from mesh.data.plugins import Plugins
from mesh.data.policy import ALLOW, Decision, Policy, PolicyRequest, deny
from protocols.errors import MeshError
from protocols.statistics import names
from protocols.wire.digest import digest

if TYPE_CHECKING:
    from mesh.data.asking import AnyPlan, Columns
    from mesh.data.uses import Entry
    from protocols.arithmetic.field import Elements
    from protocols.identifiers import PartyId
    from protocols.sessions.plan import Job, Plan

MAX_KEPT_BYTES = 16 << 20
"""Files up to this size stay parsed between two uses: a training run reads the same columns every round."""


class DataRoom:
    """Data sets, policies and ledger in the state folder `home`. `clock` gives seconds since 1970."""

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        folder = home / "data"
        self._catalog = Catalog(folder)
        self._ledger = Ledger(folder / "ledger.db")
        self._plugins = Plugins(home)
        self._clock = clock
        self._parsed: tuple[tuple[str, str, tuple[str, ...]], sources.Contents] | None = None

    # Data sets

    def add(self, path: Path, name: str, schema_path: Path | None = None) -> DatasetInfo:
        """Register a CSV file after reading all of it; adding it again takes the file as it is now.

        Raises DataError C-601 … C-613 and C-615; nothing is changed then.
        """
        check_name(name)
        path = path.expanduser().absolute()
        with self._catalog.changing():
            known = self._catalog.all().get(name)
            if known is not None and known.path != str(path):
                raise DataError(
                    f"the name {name!r} is taken by {known.path}",
                    code="C-613",
                    fix=f"choose another name, or first: coppice data remove {name}",
                )
            text = self._catalog.schema_text(name, schema_path)
            rules = (
                schema.parse(text, schema_path.name if schema_path else "schema") if text else schema.Schema()
            )
            contents = sources.read(path, rules)
            info = DatasetInfo(
                name=name,
                path=str(path),
                digest=contents.digest.hex(),
                size_bytes=contents.size_bytes,
                rows=contents.rows,
                columns={column: len(values) for column, values in contents.columns.items()},
                units={column: rule.unit for column, rule in rules.columns.items() if rule.unit},
                added=self._clock(),
                has_schema=text is not None,
                description=rules.description,
            )
            if not info.columns:
                raise DataError(
                    f"{path.name}: no column holds numbers",
                    code="C-610",
                    fix="add a file with numbers, or a schema that names a column a category",
                )
            self._note("dataset", name, {"added": info.digest, "rows": info.rows})
            self._catalog.put(info, text)
        return self._catalog.get(name)

    def list(self) -> tuple[DatasetInfo, ...]:
        """All data sets by name. Raises DataError C-615."""
        found = self._catalog.all()
        return tuple(found[name] for name in sorted(found))

    def offers(self) -> tuple[str, ...]:
        """Data sets worth announcing to the mesh: those that have a policy; any other would be refused.

        Raises DataError C-615.
        """
        return tuple(name for name, info in sorted(self._catalog.all().items()) if info.has_policy)

    def has(self, name: str) -> bool:
        """Whether there is a data set of that name. Raises DataError C-615."""
        return name in self._catalog.all()

    def show(self, name: str) -> DatasetInfo:
        """One data set. Raises DataError C-612."""
        return self._catalog.get(name)

    def remove(self, name: str) -> None:
        """Forget a data set and its policy; the file and the ledger stay. Raises DataError C-612."""
        with self._catalog.changing():
            self._catalog.get(name)
            self._note("dataset", name, {"removed": True})
            self._catalog.remove(name)

    # Policy

    def init_policy(self, name: str, rules: Policy, *, replace: bool = False) -> str:
        """Write a policy file for a data set and return its text. Raises DataError C-612, C-620."""
        if self._catalog.get(name).has_policy and not replace:
            raise DataError(
                f"{name!r} has a policy already",
                code="C-620",
                fix=f"edit {self._catalog.policy_path(name)}, or replace it",
            )
        text = policy.render(rules, name)
        self.set_policy(name, text)
        return text

    def set_policy(self, name: str, text: str) -> Policy:
        """Make a TOML text the policy of a data set; a wrong one changes nothing.

        Raises DataError C-610, C-612, C-620.
        """
        rules = policy.parse(text, f"policy of {name}")
        with self._catalog.changing():
            known = self._catalog.get(name)
            for column in rules.columns:
                if column != policy.ANY_COLUMN and column not in known.columns:
                    raise sources.no_column(name, column, tuple(known.columns))
            self._note("policy", name, {"digest": digest("policy", text.encode()).hex()})
            self._catalog.write(self._catalog.policy_path(name), text)
        return rules

    def show_policy(self, name: str) -> Policy | None:
        """Policy of a data set, None if it has none. Raises DataError C-612, C-620."""
        if not self._catalog.get(name).has_policy:
            return None
        path = self._catalog.policy_path(name)
        return policy.parse(schema.read_text(path, "C-620"), path.name)

    def test_policy(self, job_path: Path) -> Decision:
        """Judge a job file as `authorize` would a plan for it, but for overlaps: it names no parties.

        Raises DataError C-612, C-620.
        """
        job = job_files.parse(schema.read_text(job_path, "C-620"), job_path.name)
        info = self._catalog.get(job.dataset)
        with self._ledger.writing() as page:
            uses = len(page.uses(job.dataset))
        request = PolicyRequest(
            dataset=job.dataset,
            queries=job.queries,
            min_sites=job.min_sites,
            sites=job.sites,
            threshold=job.threshold,
            requester=job.requester,
            requester_name=job.requester,
            rows=asking.rows(info),
            now=self._clock(),
            uses=uses,
        )
        return policy.evaluate(self.show_policy(job.dataset), request)

    # Sessions

    def authorize(
        self, plan: AnyPlan, me: PartyId, requester_name: str = "", blobs: tuple[bytes, ...] = ()
    ) -> Decision:
        """Judge a plan by the owner's policy; an approval is stored before it is returned.

        Asking again about an approved plan gives the approval again until the session has ended. Peers
        that deal nothing, and jobs that read no data, need no consent. `blobs` are the public inputs that
        the job names. Raises DataError C-615, C-622: then the answer is no.
        """
        if me not in plan.dealers:
            return ALLOW
        try:
            queries = asking.asked(plan.job, blobs)
            if not queries:
                return ALLOW
            info, rules = self._rules_for(plan)
            queries = asking.held(queries, info)
        except MeshError as error:
            return deny("dataset" if error.code == "C-612" else "data", error.sentence())
        sites = frozenset(party.hex() for party in plan.dealers)
        with self._ledger.writing() as page:
            standing = page.standing(plan.session.hex())
            if standing is not None:
                return ALLOW if standing == "approved" else deny("ended", f"the session is over ({standing})")
            earlier = page.uses(info.name)
            request = PolicyRequest(
                dataset=info.name,
                queries=queries,
                min_sites=plan.job.min_sites,
                sites=plan.dealer_count,
                threshold=asking.threshold(plan),
                requester=plan.initiator.hex(),
                requester_name=requester_name,
                rows=asking.rows(info),
                now=self._clock(),
                uses=len(earlier),
                own=plan.initiator == me,
                epsilon=asking.epsilon(rules, earlier, queries, plan.job.min_sites),
                edges=asking.edges(earlier),
                inputs=asking.inputs(plan.job),
            )
            decision = policy.evaluate(rules, request)
            if decision.allowed and rules is not None and rules.overlap != "allow":
                ends = asking.inputs(plan.job), asking.fewest(plan), plan.dealer_count - len(sites)
                words = overlap.conflict(rules, earlier, queries, sites, info.rows, info.digest, *ends)
                if words is not None and rules.overlap == "refuse":
                    return deny("overlap", words)
                decision = Decision(True, "", "", (words,) if words else ())
            if decision.allowed:
                body = asking.approval(plan, info, queries)
                page.append(self._clock(), "approved", info.name, plan.session.hex(), body)
            return decision

    def consider(
        self,
        job: Job,
        requester: PartyId,
        requester_name: str,
        sites: int,
        threshold: int,
        blobs: tuple[bytes, ...] = (),
    ) -> Decision:
        """Would `authorize` allow such a job? Stores nothing, binds nobody; overlaps need the parties."""
        try:
            info = self._catalog.get(job.dataset)
            queries = asking.held(asking.asked(job, blobs), info)
            rules = self.show_policy(info.name)
            with self._ledger.writing() as page:
                earlier = page.uses(info.name)
        except MeshError as error:
            return deny("dataset" if error.code == "C-612" else "data", error.sentence())
        request = PolicyRequest(
            dataset=info.name,
            queries=queries,
            min_sites=job.min_sites,
            sites=sites,
            threshold=threshold,
            requester=requester.hex(),
            requester_name=requester_name,
            rows=asking.rows(info),
            now=self._clock(),
            uses=len(earlier),
            epsilon=asking.epsilon(rules, earlier, queries, job.min_sites),
            edges=asking.edges(earlier),
            inputs=asking.inputs(job),
        )
        decision = policy.evaluate(rules, request)
        unknown = [query.column for query in queries if query.column not in asking.rows(info)]
        if decision.rule == "columns" and unknown:  # who may ask may know what there is
            return deny("data", sources.no_column(info.name, unknown[0], tuple(info.columns)).sentence())
        strict = decision.allowed and rules is not None and rules.overlap == "refuse"
        whole = strict and overlap.is_repeated(earlier, queries, asking.inputs(job))
        return replace(decision, whole=whole, held=asking.split(queries) if decision.allowed else ())

    def contribution(
        self, plan: Plan, seed: bytes | None = None, blobs: tuple[bytes, ...] = ()
    ) -> tuple[Elements, int]:
        """This node's vector, (plan.length,) uint64, and the rows of its file; `seed`: 32 secret bytes.

        What the owner should know of its rows (values cut to the clip) is noted in the ledger. Raises
        DataError C-623 without a standing approval of exactly this plan, C-614 if the file changed since
        it was added, C-601 … C-610 if it cannot be read, C-640 … C-646 for models and rows that do not fit.
        """
        import numpy as np

        from protocols.statistics import registry
        from protocols.statistics.update import Site

        seed = secrets.token_bytes(32) if seed is None else seed
        if not asking.asked(plan.job, blobs):
            return registry.encode_job(plan.job, {}, seed), 0
        with self._ledger.writing() as page:
            info = asking.approved(page, self._catalog, plan)
        site = Site(blobs, self._plugins.load)
        contents = self._contents(info, registry.columns_of(plan.job, site))
        columns = {name: np.array(values, dtype=np.float64) for name, values in contents.columns.items()}
        vector = registry.encode_job(plan.job, columns, seed, site)
        if site.notes:
            with self._ledger.writing() as page:
                page.append(self._clock(), "note", info.name, plan.session.hex(), {"notes": list(site.notes)})
        return vector, contents.rows

    def columns(self, plan: AnyPlan) -> Columns:
        """The columns that an approved program reads. Raises DataError as `contribution` does."""
        with self._ledger.writing() as page:
            info = asking.approved(page, self._catalog, plan)
        wanted = asking.held(asking.asked(plan.job), info)
        return self._contents(info, tuple(dict.fromkeys(query.column for query in wanted))).columns

    def spent(self, name: str) -> float:
        """Epsilon that models trained on a data set have cost so far; 0 without a budget."""
        with self._ledger.writing() as page:
            return asking.epsilon(self.show_policy(name), page.uses(name))

    def record_use(
        self,
        plan: AnyPlan,
        *,
        opened: bool,
        roster: Sequence[PartyId] = (),
        answers: Sequence[dict[str, object]] = (),
    ) -> tuple[str, ...]:
        """Write down how an approved session ended; returns warnings about what it gives away.

        `opened=False` is for a definite abort only: it gives the use back, unless a result is ever recorded.
        Without a record or a roster any sites that the plan may end with count as opened. Raises C-622.
        """
        session = plan.session.hex()
        with self._ledger.writing() as page:
            approval = page.approval(session)
            standing = page.standing(session)
            if approval is None or standing == "result" or (standing == "released" and not opened):
                return ()
            name = approval.dataset
            if not opened:
                page.append(self._clock(), "released", name, session, {})
                return ()
            earlier = [use for use in page.uses(name) if use.session != session]
            body = asking.ending(plan, roster, answers)
            page.append(self._clock(), "result", name, session, body)
            used = next(use for use in page.uses(name) if use.session == session)
        rules = self.show_policy(name) if self.has(name) else None
        if rules is None:
            return ()
        words = overlap.conflict(
            rules, earlier, used.queries, used.sites, used.rows, used.digest, used.inputs, None, used.others
        )
        return (words,) if words else ()

    def record_certified(self, plan: AnyPlan, roster: Sequence[PartyId]) -> None:
        """An approved session opens, if anything, over exactly these sites. Raises DataError C-622."""
        with self._ledger.writing() as page:
            asking.note_certified(page, self._clock(), plan, roster)

    # Ledger

    def history(self, name: str | None = None) -> tuple[Entry, ...]:
        """Entries of the ledger, oldest first. Raises DataError C-622."""
        return self._ledger.entries(name)

    def export(self) -> str:
        """The verified ledger as JSON lines. Raises DataError C-622."""
        return self._ledger.export()

    def verify(self) -> str:
        """Hash of the newest entry, after checking all. Raises DataError C-622."""
        return self._ledger.verify()

    def _note(self, kind: str, name: str, body: dict[str, object]) -> None:
        """Comes before the change itself: none escapes the ledger, an entry may be of one that failed."""
        with self._ledger.writing() as page:
            page.append(self._clock(), kind, name, "", body)

    def _contents(self, info: DatasetInfo, wanted: tuple[str, ...]) -> sources.Contents:
        """The wanted columns; those of the last reading if the file is still that one, as in training."""
        key = (info.name, info.digest, wanted)
        if self._parsed is not None and self._parsed[0] == key:
            check_unchanged(info, sources.digest_of(Path(info.path)))
            return self._parsed[1]
        contents = sources.read(Path(info.path), self._catalog.schema_of(info), wanted)
        check_unchanged(info, contents.digest)
        self._parsed = (key, contents) if info.size_bytes <= MAX_KEPT_BYTES else None
        return contents

    def _rules_for(self, plan: AnyPlan) -> tuple[DatasetInfo, Policy | None]:
        """Data set and policy, after checking that the plan fits and the file is still the one added."""
        length = sum(names.length(query.statistic, query.parameters) for query in plan.job.queries)
        if plan.bulk is None and plan.length != length:
            raise DataError(f"the plan has {plan.length} elements, its job {length}", code="C-623")
        info = self._catalog.get(plan.job.dataset)
        rules = self.show_policy(info.name)
        if rules is not None:
            check_unchanged(info, sources.digest_of(Path(info.path)))
        return info, rules
