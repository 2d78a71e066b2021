"""The benchmarks' shape and their sums; no times."""

from __future__ import annotations

import json

import pytest

from protocols.errors import ConfigError, LocalMisuse
from tools.bench import __main__ as command
from tools.bench import aggregate, flower, session

PROMISED = {
    "devices",
    "length",
    "drop",
    "client_cpu_s",
    "aggregator_cpu_s_per_child",
    "committee_cpu_s",
    "upload_bytes",
    "upload_over_float32",
    "secure_over_plain",
    "aggregator_and_committee_cpu_s_total",
    "unmask_cpu_s",
    "mode",
    "parameters",
}


def test_the_last_line_is_one_object_and_the_sum_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["aggregate", "--devices", "5", "--length", "9000", "--slots", "1", "--drop", "0.2", "--json"]
    assert command.main(arguments) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures.keys() >= PROMISED
    assert (figures["devices"], figures["length"], figures["drop"]) == (5, 9000, 0.2)
    assert figures["exact"] is True
    assert figures["plain_exact"] is True
    key_shares = 5 * 8 * aggregate.B16_N10.dealt_length  # two of seven seats get seeds
    assert figures["upload_bytes"] > 34 * 9000 // 8 + key_shares


def test_devices_that_vanish_after_dealing_do_not_count() -> None:
    case = aggregate.Case(6, 2000, 0.34, slots=1, vanish="dealt")
    figures = aggregate.measure(case, with_plain=False)
    assert figures["exact"] is True
    assert len(case.vanishing) == 2


def test_a_short_vector_is_not_masked() -> None:
    with pytest.raises(LocalMisuse):
        aggregate.measure(aggregate.Case(6, 10))


def test_a_session_opens_the_exact_sum() -> None:
    figures = session.measure(6, 5)
    assert figures["exact"] is True
    assert figures["bytes_total"] > 0


def test_flower_says_how_to_set_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COPPICE_FLOWER_PYTHON", raising=False)
    with pytest.raises(ConfigError) as caught:
        flower.find(None, None)
    assert "pip install flwr" in caught.value.fix
