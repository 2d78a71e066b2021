"""Words of program jobs on the command line become the parameters that the protocol checks."""

from __future__ import annotations

import pytest

from mesh.cli.jobs import job_spec
from mesh.cli.program_options import PROGRAMS, ProgramOptions
from protocols.errors import ConfigError
from protocols.statistics import names


@pytest.mark.parametrize(
    ("statistic", "options", "parameters"),
    [
        ("median", {}, (-1e6, 1e6, 6.0)),
        ("median", {"range": "0:365", "decimals": 0}, (0.0, 365.0, 0.0)),
        ("quantiles", {"at": "0.25,0.9", "range": "0:10"}, (0.0, 10.0, 6.0, 0.25, 0.9)),
        ("top", {"k": 3}, (-1e6, 1e6, 6.0, 3.0)),
        ("at_least", {"at": "5", "range": "0:10", "decimals": 1}, (0.0, 10.0, 1.0, 5.0)),
        ("group_by", {"groups": "1:3", "least": 5, "range": "0:9"}, (0.0, 9.0, 6.0, 5.0, 1.0, 2.0, 3.0)),
        ("flagged", {"k": 2, "range": "0:99"}, (0.0, 99.0, 0.0, 2.0)),
        ("overlap", {}, (0.0, 1023.0, 0.0)),
        ("logistic", {"iterations": 5}, (-8.0, 8.0, 6.0, 5.0, 1.0)),
    ],
)
def test_options_become_parameters_that_the_protocol_takes(statistic, options, parameters) -> None:
    spec = job_spec(statistic, "ward.a", None, None, None, "", ProgramOptions(**options))
    assert spec.queries[0].parameters == parameters
    names.check_parameters(statistic, spec.queries[0].parameters)


@pytest.mark.parametrize(
    ("statistic", "options"),
    [
        ("quantiles", {}),
        ("top", {}),
        ("flagged", {}),
        ("group_by", {}),
        ("median", {"range": "wide"}),
        ("at_least", {"at": "a,b"}),
        ("mean", {"k": 3}),
        ("mean,median", {"range": "0:1"}),
    ],
)
def test_words_that_make_no_program_are_refused(statistic, options) -> None:
    with pytest.raises(ConfigError) as caught:
        job_spec(statistic, "ward.a", None, None, None, "", ProgramOptions(**options))
    assert caught.value.code == "C-101"
    assert caught.value.fix


def test_the_command_line_knows_every_program_that_columns_can_answer() -> None:
    assert set(PROGRAMS) == names.PROGRAMS - {"program"}


def test_mode_a_travels_with_the_job() -> None:
    assert job_spec("median", "ward.a", None, None, None, "", ProgramOptions(mode="A")).mode == "A"
    assert job_spec("mean", "ward.a", None, None, None, "").mode == "P"
