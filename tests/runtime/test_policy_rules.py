"""Each rule of a policy denies what it is for, by name, and allows the rest."""

from __future__ import annotations

import dataclasses

import pytest

from mesh.data import job_files, overlap, policy
from mesh.data.errors import DataError
from mesh.data.overlap import Use
from mesh.data.policy import Asked, Policy, PolicyRequest

RULES = Policy(
    allow=("mean", "count", "histogram"),
    columns=("temp", "*"),
    min_sites=3,
    min_rows=50,
    requesters=("lab", "ab" * 32),
    expires=1000.0,
    max_uses=5,
    max_bins=10,
    min_bin_width=0.5,
)
ASKED = PolicyRequest(
    dataset="readings",
    queries=(Asked("mean", "temp"),),
    min_sites=3,
    sites=4,
    threshold=1,
    requester="cd" * 32,
    requester_name="lab",
    rows={"temp": 50, "few": 31},
    now=999.0,
    uses=4,
)


def test_a_request_within_the_rules_is_allowed() -> None:
    assert policy.evaluate(RULES, ASKED).sentence() == "ALLOW"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"queries": (Asked("mean", "few"),)}, "DENY by rule min_rows: 31 < 50"),
        (
            {"queries": (Asked("sum", "temp"),)},
            "DENY by rule allow: sum is not one of mean, count, histogram",
        ),
        (
            {"queries": (Asked("mean", "temp"), Asked("sum", "temp"))},
            "DENY by rule allow: sum is not one of mean, count, histogram",
        ),
        ({"queries": ()}, "DENY by rule queries: the job asks for nothing"),
        (
            {"queries": (Asked("mean", "nothing"),)},
            "DENY by rule columns: there is no numeric column 'nothing' in 'readings'",
        ),
        (
            {"queries": (Asked("mean", "*"),)},
            "DENY by rule columns: mean needs a column; only count takes '*'",
        ),
        ({"min_sites": 2}, "DENY by rule min_sites: 2 < 3"),
        ({"sites": 2}, "DENY by rule min_sites: the plan lists 2 sites < 3"),
        ({"threshold": 0}, "DENY by rule min_threshold: 0 < 1"),
        ({"requester_name": "bob"}, f"DENY by rule requesters: bob is not one of lab, {'ab' * 32}"),
        ({"requester_name": ""}, f"DENY by rule requesters: cdcdcdcd is not one of lab, {'ab' * 32}"),
        ({"now": 1000.0}, "DENY by rule expires: the policy ended on 1970-01-01"),
        ({"uses": 5}, "DENY by rule max_uses: 5 of 5 uses are spent"),
        (
            {"queries": (Asked("histogram", "temp", tuple(map(float, range(12)))),)},
            "DENY by rule max_bins: 11 > 10",
        ),
        (
            {"queries": (Asked("histogram", "temp", (0.0, 1.0, 1.25)),)},
            "DENY by rule min_bin_width: 0.25 < 0.5",
        ),
    ],
)
def test_each_rule_denies_by_name(change: dict[str, object], sentence: str) -> None:
    decision = policy.evaluate(RULES, dataclasses.replace(ASKED, **change))
    assert not decision.allowed
    assert decision.sentence() == sentence
    assert decision.fix


def test_bad_parameters_are_denied_not_raised() -> None:
    request = dataclasses.replace(ASKED, queries=(Asked("histogram", "temp", (2.0, 1.0)),))
    assert policy.evaluate(RULES, request).rule == "parameters"


def test_columns_that_are_not_named_are_denied() -> None:
    rules = dataclasses.replace(RULES, columns=("few",))
    assert policy.evaluate(rules, ASKED).sentence() == "DENY by rule columns: temp is not one of few"


def test_requesters_by_id_by_name_own_or_any() -> None:
    stranger = dataclasses.replace(ASKED, requester_name="bob")
    assert policy.evaluate(RULES, dataclasses.replace(stranger, requester="ab" * 32)).allowed
    assert policy.evaluate(RULES, dataclasses.replace(stranger, own=True)).allowed
    assert policy.evaluate(dataclasses.replace(RULES, requesters=("any-member",)), stranger).allowed
    posing = dataclasses.replace(stranger, requester_name="ab" * 32)
    assert not policy.evaluate(RULES, posing).allowed
    nobody = dataclasses.replace(RULES, requesters=("",))
    assert not policy.evaluate(nobody, dataclasses.replace(ASKED, requester_name="")).allowed


def test_default_is_deny() -> None:
    assert policy.evaluate(None, ASKED).rule == "no_policy"
    assert policy.evaluate(Policy(), ASKED).rule == "allow"
    assert policy.evaluate(policy.parse("allow = []"), ASKED).rule == "allow"


def test_a_policy_survives_writing_and_reading() -> None:
    tricky = dataclasses.replace(RULES, requesters=('a"b\\c', "ü"), columns=("temp °C",))
    for rules in (RULES, Policy(), tricky):
        assert policy.parse(policy.render(rules, "readings")) == rules
    assert policy.as_json(RULES)["expires"] == "1970-01-01T00:16:40+00:00"
    with pytest.raises(DataError):
        policy.render(dataclasses.replace(RULES, requesters=("a\nallow = ['sum']",)), "readings")


def test_all_mistakes_of_a_policy_at_once() -> None:
    text = 'allow = ["mean", "mode"]\nmin_site = 3\nmin_rows = 0\nexpires = "soon"\noverlap = "maybe"\n'
    with pytest.raises(DataError) as caught:
        policy.parse(text, "p.toml")
    assert caught.value.code == "C-620"
    for part in (
        "p.toml:1: allow: there is no statistic 'mode'",
        "p.toml:2: min_site: unknown key",
        "p.toml:3: min_rows: must be a whole number",
        "p.toml:4: expires: must be a date",
        "p.toml:5: overlap: must be one of refuse, warn, allow",
    ):
        assert part in caught.value.args[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "allow = 3",
        "allow = [1]",
        "allow = []\nmin_sites = 1",
        "allow = []\nmin_sites = true",
        "allow = []\nmin_bin_width = -1",
        "allow = [",
    ],
)
def test_malformed_policies(text: str) -> None:
    with pytest.raises(DataError) as caught:
        policy.parse(text)
    assert caught.value.code == "C-620"


def test_dates_without_zone_are_utc() -> None:
    assert policy.parse("allow = []\nexpires = 1970-01-02").expires == 86400
    assert policy.parse("allow = []\nexpires = 1970-01-01T01:00:00").expires == 3600
    assert policy.parse("allow = []\nexpires = 1970-01-01T01:00:00+01:00").expires == 0


def test_job_files() -> None:
    job = job_files.parse(
        'dataset = "r"\nmin_sites = 4\n'
        '[[queries]]\nstatistic = "histogram"\ncolumn = "t"\nparameters = [0, 1.5]\n'
    )
    assert job.queries == (Asked("histogram", "t", (0.0, 1.5)),)
    assert (job.min_sites, job.sites, job.threshold, job.requester) == (4, 4, 1, "any-member")
    with pytest.raises(DataError) as caught:
        job_files.parse('site = 3\nqueries = [{statistic = "mean", column = "t", parameters = ["a"]}]')
    for part in ("site: unknown key", "queries.parameters", "dataset: is missing"):
        assert part in caught.value.args[0]


SITES = frozenset("abcd")
BEFORE = Use("5e" * 32, 0.0, (Asked("mean", "temp"),), SITES, rows=100, digest="one")
WATCHFUL = Policy(allow=("mean",), min_sites=3, min_rows=10)


@pytest.mark.parametrize(
    ("statistic", "column", "sites", "rows", "digest", "denied"),
    [
        ("mean", "temp", "abcd", 100, "one", False),  # the same again: nothing new
        ("mean", "temp", "abc", 100, "one", True),  # n against n-1
        ("mean", "temp", "abcde", 100, "one", True),
        ("mean", "temp", "abce", 100, "one", True),  # d against e
        ("mean", "temp", "abcdefg", 100, "one", False),  # three more: a sum over three
        ("mean", "temp", "efgh", 100, "one", False),
        ("sum", "temp", "abc", 100, "one", True),  # a mean is a sum
        ("variance", "temp", "abc", 100, "one", True),
        ("histogram", "temp", "abc", 100, "one", False),
        ("mean", "other", "abc", 100, "one", False),
        ("mean", "temp", "abcd", 101, "two", True),  # one row more of ours
        ("mean", "temp", "abcd", 100, "two", True),  # a row replaced
        ("mean", "temp", "abcd", 110, "two", False),
    ],
)
def test_overlaps(statistic: str, column: str, sites: str, rows: int, digest: str, denied: bool) -> None:
    words = overlap.conflict(WATCHFUL, [BEFORE], [Asked(statistic, column)], frozenset(sites), rows, digest)
    assert (words is not None) == denied
