"""The lab of three hospitals types what the README tells people to type."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.netlab import launch
from tools.netlab.topology import load

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["INIT", "UP", "INVITE", "JOIN", "DATA", "POLICY"])
def test_every_command_of_the_lab_stands_in_the_readme(name):
    template = getattr(launch, name)
    pattern = re.sub(r"\\\{\w+\\\}", r"\\S+", re.escape(template))
    assert re.search(rf"^{pattern}(\s+#.*)?$", README, re.MULTILINE), template


def test_the_lab_of_three_hospitals_is_set_up_by_these_commands():
    lab = load(ROOT / "configs" / "labs" / "three-hospitals.toml")
    assert lab.launch == "commands"
    assert [len(site.nodes) for site in lab.sites] == [1, 1, 1]
