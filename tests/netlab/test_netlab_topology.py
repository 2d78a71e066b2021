"""Labs in writing: what is read, and what is refused with the key and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols.errors import ConfigError
from tools.netlab.links import LinkSpec
from tools.netlab.topology import load

LABS = sorted((Path(__file__).resolve().parents[2] / "configs" / "labs").glob("*.toml"))

SMALL = """
title = "small"
[link]
latency_ms = 3
[settings.mesh]
settle_s = 1.0
[[site]]
name = "a"
nodes = 2
holders = 1
[[site]]
name = "b"
copies = 2
[[pair]]
sites = ["a", "b-2"]
mbit = 5
[[fault]]
at = 2
do = "cut"
what = ["a", "b-1"]
for_s = 1
every_s = 3
times = 4
short_times = 1
[[job]]
at = 1
from = ["a-1", "b-2"]
ask = ["mean mean_radius"]
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "lab.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
@pytest.mark.parametrize("short", [False, True])
def test_the_labs_that_come_with_the_project_are_legal(path, short):
    lab = load(path, short=short)
    assert lab.jobs
    assert path.read_text().startswith("# ")


def test_a_lab_is_read_as_written(written):
    lab = load(written(SMALL))
    assert [node.name for node in lab.nodes] == ["a-1", "a-2", "b-1", "b-2"]
    assert [node.holds_rows for node in lab.nodes] == [True, False, True, True]
    assert len({node.address for node in lab.nodes}) == 4
    assert lab.links["b-2", "a"] == lab.links["a", "b-2"] == LinkSpec(latency_ms=3, mbit=5)
    assert lab.links["b-1", "b-2"] == LinkSpec(latency_ms=3)
    assert [fault.at for fault in lab.faults] == [2, 5, 8, 11]
    assert [fault.at for fault in load(written(SMALL), short=True).faults] == [2]
    assert lab.settings == {"mesh.settle_s": 1.0}
    assert [(job.by, job.ask) for job in lab.jobs] == [
        ("a-1", (("mean", "mean_radius"),)),
        ("b-2", (("mean", "mean_radius"),)),
    ]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('title = "small"', "", "lab.title is missing"),
        ("latency_ms = 3", "latency_ms = -1", "link.latency_ms is -1"),
        ("latency_ms = 3", 'latency_ms = "3"', "link.latency_ms is '3'"),
        ("latency_ms = 3", "latency = 3", "link.latency is unknown"),
        ('sites = ["a", "b-2"]', 'sites = ["a", "c"]', "pair 1.sites names 'c'"),
        ('sites = ["a", "b-2"]', 'sites = ["a", "a"]', "name two different sites"),
        ('do = "cut"', 'do = "melt"', "use one of cut, kill, pause"),
        ('do = "cut"', 'do = "kill"', "fault 1.what names 'a'"),
        ('from = ["a-1", "b-2"]', 'from = ["a"]', "job 1.from names 'a'"),
        ('ask = ["mean mean_radius"]', 'ask = ["mean"]', "job 1.ask is incomplete"),
        ("settle_s = 1.0", "setle_s = 1.0", "settings.mesh.setle_s is no setting"),
        ("holders = 1", "holders = 3", "site 1.holders is 3"),
        ("copies = 2", "copies = 2\nname = 3", "lab.toml"),
        ("nodes = 2", "nodes = true", "site 1.nodes is True"),
    ],
)
def test_a_fault_names_the_key_and_the_fix(written, before, after, words):
    assert before in SMALL
    with pytest.raises(ConfigError) as caught:
        load(written(SMALL.replace(before, after, 1)))
    assert words in caught.value.sentence()
    assert caught.value.fix


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")
