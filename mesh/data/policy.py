"""Consent: what the owner of a data set lets others compute on it. Default deny; importable without numpy.

The policy is a TOML file on the owner's device, never pushed by a peer. A job is allowed if every rule
allows it, and a denial names the first rule that does not: `DENY by rule min_rows: 31 < 50`.

    allow = ["mean", "histogram"]   # statistics; an empty list denies everything
    columns = ["*"]                 # columns that may be used; "*" is every numeric column
    min_sites = 3                   # fewest sites in what is opened; privacy within the sum grows with it
    min_rows = 10                   # fewest values of ours in a column that we put into a sum
    min_threshold = 1               # fewest colluding committee members that must learn nothing
    requesters = ["any-member"]     # or names, or party ids in hex
    expires = 2027-01-01            # optional date
    max_uses = 0                    # approved jobs in all; 0 is no limit
    overlap = "refuse"              # a job whose sites differ from an earlier one's by fewer than min_sites
    max_bins = 64                   # histogram: most bins …
    min_bin_width = 0.0             # … and narrowest bin
    dp_epsilon_budget = 0.0         # trained models: most epsilon in all; above 0, only noised updates
    dp_delta = 1e-05                # … at this delta
    programs = []                   # programs of others that may run, by digest, or "*"; with allow "program"

`min_sites` trades availability for privacy: with s sites, s-1 of them together learn the last one's sum.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from mesh.data.errors import DataError
from mesh.data.tables import Reader, Table
from protocols.errors import MeshError
from protocols.statistics import names

ANY_MEMBER = "any-member"
ANY_COLUMN = "*"
ANY_PROGRAM = "*"
PARTY_ID = re.compile("[0-9a-fA-F]{64}")
DIGEST = re.compile("[0-9a-f]{64}")
OVERLAPS = ("refuse", "warn", "allow")
KEYS = (
    "allow",
    "columns",
    "min_sites",
    "min_rows",
    "min_threshold",
    "requesters",
    "expires",
    "max_uses",
    "overlap",
    "max_bins",
    "min_bin_width",
    "dp_epsilon_budget",
    "dp_delta",
    "programs",
)


@dataclass(frozen=True, slots=True)
class Policy:
    """One owner's rules for one data set; the defaults allow nothing."""

    allow: tuple[str, ...] = ()
    columns: tuple[str, ...] = (ANY_COLUMN,)
    min_sites: int = 3
    min_rows: int = 10
    min_threshold: int = 1
    requesters: tuple[str, ...] = (ANY_MEMBER,)
    expires: float | None = None
    max_uses: int = 0
    overlap: str = "refuse"
    max_bins: int = 64
    min_bin_width: float = 0.0
    dp_epsilon_budget: float = 0.0
    dp_delta: float = 1e-5
    programs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """One statistic of one column."""

    statistic: str
    column: str
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyRequest:
    """What a job asks of one owner, with what is known of the owner's rows and of earlier uses.

    `rows` maps each numeric column to the number of its values; `sites` counts the dealers of the plan;
    `epsilon` is what would be spent in all once this job is done; `edges` are those of earlier histograms.
    """

    dataset: str
    queries: tuple[Asked, ...]
    min_sites: int
    sites: int
    threshold: int
    requester: str
    requester_name: str
    rows: Mapping[str, int]
    now: float
    uses: int = 0
    own: bool = False
    epsilon: float = 0.0
    edges: Mapping[str, frozenset[float]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    """Public inputs that the job names by digest, such as its program."""


_FIXES = {
    "no_policy": "its owner runs: coppice policy init NAME --allow STATISTIC",
    "expires": "its owner renews the policy",
    "requesters": "its owner adds the requester to the policy",
    "max_uses": "its owner raises max_uses",
    "min_sites": "ask for more sites, or wait until more have the data set",
    "min_threshold": "wait until more gateways are in the mesh, so that the committee is larger",
    "allow": "ask for an allowed statistic, or its owner extends the policy",
    "columns": "ask for a column that the policy names",
    "programs": "its owner adds the program's digest to programs in the policy",
    "parameters": "correct the parameters",
    "min_rows": "wait until the owner has more rows",
    "max_bins": "ask for fewer bins",
    "min_bin_width": "ask for wider bins, and for the edges asked before",
    "dp_budget": "train with --dp-epsilon and more noise, or its owner raises dp_epsilon_budget",
    "overlap": "ask over the same sites as before, or at least min_sites others; or its owner sets overlap",
    "data": "its owner adds the file again",
    "dataset": "name a data set that this site has",
    "ended": "make a new plan",
    "queries": "name a statistic and a column",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a job may use the data, by which rule not, and words for people."""

    allowed: bool
    rule: str
    reason: str
    warnings: tuple[str, ...] = ()
    whole: bool = False
    """The sites asked must all be in the answer: some of them answered the like before."""
    held: tuple[str, ...] = ()
    """Of columns that different sites hold, those that are here."""

    @property
    def fix(self) -> str:
        """What would make it an approval; empty for one."""
        return _FIXES.get(self.rule, "")

    def sentence(self) -> str:
        """`DENY by rule min_rows: 31 < 50`, or `ALLOW`."""
        if self.allowed:
            return "ALLOW" + "".join(f" (warning: {warning})" for warning in self.warnings)
        return f"DENY by rule {self.rule}: {self.reason}"


def deny(rule: str, reason: str) -> Decision:
    """A denial."""
    return Decision(False, rule, reason)


ALLOW = Decision(True, "", "")


def evaluate(policy: Policy | None, request: PolicyRequest) -> Decision:
    """Judge `request`; without a policy it is denied."""
    if policy is None:
        return deny("no_policy", f"the owner has set no policy for {request.dataset!r}")
    for decision in (_standing(policy, request), _crowd(policy, request)):
        if decision is not None:
            return decision
    if not request.queries:
        return deny("queries", "the job asks for nothing")
    for query in request.queries:
        decision = _query(policy, request, query)
        if decision is not None:
            return decision
    return ALLOW


def _standing(policy: Policy, request: PolicyRequest) -> Decision | None:
    """Rules about time, requester and number of uses."""
    if policy.expires is not None and request.now >= policy.expires:
        return deny("expires", f"the policy ended on {_date(policy.expires)}")
    # A name is of use only if it cannot be taken for somebody else's party id.
    name = "" if PARTY_ID.fullmatch(request.requester_name) else request.requester_name
    welcome = request.own or any(
        one in (ANY_MEMBER, request.requester) or (name and one == name) for one in policy.requesters
    )
    if not welcome:
        who = request.requester_name or request.requester[:8]
        return deny("requesters", f"{who} is not one of {', '.join(policy.requesters) or 'nobody'}")
    if policy.max_uses and request.uses >= policy.max_uses:
        return deny("max_uses", f"{request.uses} of {policy.max_uses} uses are spent")
    if policy.dp_epsilon_budget and request.epsilon > policy.dp_epsilon_budget:
        spent = "a job without noise has none"
        if math.isfinite(request.epsilon):
            spent = (
                f"epsilon {request.epsilon:.3g} > {policy.dp_epsilon_budget:g} at delta {policy.dp_delta:g}"
            )
        return deny("dp_budget", spent)
    return None


def _crowd(policy: Policy, request: PolicyRequest) -> Decision | None:
    """Rules about how many others a sum hides among."""
    if request.min_sites < policy.min_sites:
        return deny("min_sites", f"{request.min_sites} < {policy.min_sites}")
    if request.sites < policy.min_sites:
        return deny("min_sites", f"the plan lists {request.sites} sites < {policy.min_sites}")
    if request.threshold < policy.min_threshold:
        return deny("min_threshold", f"{request.threshold} < {policy.min_threshold}")
    return None


def _query(policy: Policy, request: PolicyRequest, query: Asked) -> Decision | None:
    """Rules about what is computed on what."""
    if query.statistic not in policy.allow:
        return deny("allow", f"{query.statistic} is not one of {', '.join(policy.allow) or 'nothing'}")
    try:
        names.check_parameters(query.statistic, query.parameters)
    except MeshError as error:
        return deny("parameters", str(error))
    if ANY_COLUMN not in policy.columns and query.column not in policy.columns:
        return deny("columns", f"{query.column} is not one of {', '.join(policy.columns) or 'nothing'}")
    if query.column == ANY_COLUMN and query.statistic != "count":
        return deny("columns", f"{query.statistic} needs a column; only count takes {ANY_COLUMN!r}")
    rows = request.rows.get(query.column)
    if rows is None:
        return deny("columns", f"there is no numeric column {query.column!r} in {request.dataset!r}")
    if rows < policy.min_rows:
        return deny("min_rows", f"{rows} < {policy.min_rows}")
    if query.statistic == "histogram":
        return _bins(policy, request, query.column)
    if query.statistic == "program":
        return _program(policy, request)
    return None


def _program(policy: Policy, request: PolicyRequest) -> Decision | None:
    """A program may reveal anything of the rows it reads, so its owner says which ones."""
    if ANY_PROGRAM in policy.programs:
        return None
    if not request.inputs:
        return deny("programs", "the job names no program")
    strange = [name for name in request.inputs if name not in policy.programs]
    return deny("programs", f"{strange[0]} is not one of those allowed") if strange else None


def _bins(policy: Policy, request: PolicyRequest, column: str) -> Decision | None:
    """Histograms of one column give together what one with all their edges gives."""
    asked = (q for q in request.queries if (q.statistic, q.column) == ("histogram", column))
    edges = {edge for query in asked for edge in query.parameters}
    if len(edges) - 1 > policy.max_bins:
        return deny("max_bins", f"{len(edges) - 1} > {policy.max_bins}")
    known = sorted(edges | request.edges.get(column, frozenset()))
    if (narrowest := min(high - low for low, high in pairwise(known))) < policy.min_bin_width:
        return deny("min_bin_width", f"{narrowest:g} < {policy.min_bin_width:g}")
    return None


def parse(text: str, name: str = "policy") -> Policy:
    """Policy of a TOML text. Raises DataError C-620 with every mistake and its line."""
    reader = Reader(name, text, "C-620")
    table = reader.load()
    reader.known(table, KEYS)
    default = Policy()
    if "allow" not in table:
        reader.wrong("allow", 'is missing; list the statistics, for example ["mean"]')
    allow = reader.texts(table, "allow")
    for statistic in allow:
        if statistic not in names.NAMES:
            reader.wrong("allow", f"there is no statistic {statistic!r}; there are {', '.join(names.NAMES)}")
    policy = Policy(
        allow=allow,
        columns=reader.texts(table, "columns", default.columns),
        min_sites=reader.whole(table, "min_sites", default.min_sites, 2, 4096),
        min_rows=reader.whole(table, "min_rows", default.min_rows, 1, 2**32),
        min_threshold=reader.whole(table, "min_threshold", default.min_threshold, 1, 5),
        requesters=reader.texts(table, "requesters", default.requesters),
        expires=_expiry(reader, table),
        max_uses=reader.whole(table, "max_uses", default.max_uses, 0, 2**31),
        overlap=reader.choice(table, "overlap", OVERLAPS, default.overlap),
        max_bins=reader.whole(table, "max_bins", default.max_bins, 1, 1024),
        min_bin_width=reader.number(table, "min_bin_width") or 0.0,
        dp_epsilon_budget=reader.number(table, "dp_epsilon_budget") or 0.0,
        dp_delta=reader.number(table, "dp_delta") or default.dp_delta,
        programs=reader.texts(table, "programs", default.programs),
    )
    if any(name != ANY_PROGRAM and not DIGEST.fullmatch(name) for name in policy.programs):
        reader.wrong("programs", 'must be digests, 64 hexadecimal digits each, or "*" for every program')
    if policy.dp_epsilon_budget < 0 or not 0 < policy.dp_delta < 1:
        reader.wrong("dp_delta", "the budget must not be negative, and delta is between 0 and 1")
    if policy.min_bin_width < 0:
        reader.wrong("min_bin_width", "must not be negative")
    reader.finish()
    return policy


def render(policy: Policy, dataset: str) -> str:
    """TOML text that `parse` reads back."""

    def listed(values: tuple[str, ...]) -> str:
        return "[" + ", ".join(_quoted(value) for value in values) + "]"

    expires = (
        "# expires = 2030-01-01" if policy.expires is None else f"expires = {_date(policy.expires, True)}"
    )
    return "\n".join(
        (
            f"# What others may compute on {dataset}. Rules: coppice policy show {dataset}",
            f"allow = {listed(policy.allow)}",
            f"columns = {listed(policy.columns)}",
            f"requesters = {listed(policy.requesters)}",
            expires,
            f"min_sites = {policy.min_sites}",
            f"min_rows = {policy.min_rows}",
            f"min_threshold = {policy.min_threshold}",
            f"max_uses = {policy.max_uses}",
            "# A job whose sites differ from an earlier one's by fewer than min_sites would give away",
            '# the difference: "refuse", "warn" or "allow".',
            f"overlap = {_quoted(policy.overlap)}",
            f"max_bins = {policy.max_bins}",
            f"min_bin_width = {policy.min_bin_width!r}",
            "# Privacy of trained models: most epsilon in all; 0 demands no noise.",
            f"dp_epsilon_budget = {policy.dp_epsilon_budget!r}",
            f"dp_delta = {policy.dp_delta!r}",
            '# Programs of others (allow "program") by digest; they may reveal whatever they compute.',
            f"programs = {listed(policy.programs)}",
            "",
        )
    )


def as_json(policy: Policy) -> dict[str, object]:
    """Plain values."""
    plain: dict[str, object] = {key: getattr(policy, key) for key in KEYS}
    plain["expires"] = None if policy.expires is None else _date(policy.expires, True)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def _expiry(reader: Reader, table: Table) -> float | None:
    value = table.get("expires")
    if value is None:
        return None
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp()
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC).timestamp()
    reader.wrong("expires", "must be a date, for example 2030-01-01 (no quotes)")
    return None


def _date(at: float, exact: bool = False) -> str:
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return moment.isoformat() if exact else moment.date().isoformat()


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if any(ord(character) < 32 or ord(character) == 127 for character in escaped):
        raise DataError("a name in a policy holds a control character", code="C-620", fix="remove it")
    return f'"{escaped}"'
