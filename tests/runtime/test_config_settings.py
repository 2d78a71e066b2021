"""Settings: precedence, every error at once with key, place and fix, profiles that are legal."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.config import PROFILES, ConfigProblems, profile_path, resolve
from mesh.settings import SETTINGS, Config, Setting, Text


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def problems(*arguments, **options) -> dict[str, str]:
    with pytest.raises(ConfigProblems) as caught:
        resolve(*arguments, **options)
    return {problem.key: problem.sentence() for problem in caught.value.problems}


def test_defaults_are_legal_and_come_from_nowhere() -> None:
    resolved = resolve(None, environment={}, profile="localhost")
    assert resolved.origins["node.name"] == "default"
    assert resolved.origins["network.listen"].startswith("localhost.toml:")


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_is_legal_and_says_why(profile: str) -> None:
    assert resolve(None, environment={}, profile=profile).profile == profile
    lines = profile_path(profile).read_text().splitlines()
    comments = [line for line in lines if line.lstrip().startswith("#")]
    values = [line for line in lines if "=" in line and not line.lstrip().startswith("#")]
    assert len(comments) >= 4
    assert values


def test_flags_beat_environment_beats_file_beats_profile_beats_default(tmp_path: Path) -> None:
    path = write(tmp_path, 'profile = "wan"\n[network]\nmax_links = 10\nmax_guests = 3\nheartbeat_s = 2\n')
    environment = {"COPPICE_NETWORK_MAX_LINKS": "11", "COPPICE_NETWORK_MAX_GUESTS": "4"}
    resolved = resolve(path, environment=environment, flags={"network.max_links": Text("12")})
    config, origins = resolved.config, resolved.origins
    assert (config.max_links, origins["network.max_links"]) == (12, "--set network.max_links")
    assert (config.max_guests, origins["network.max_guests"]) == (4, "$COPPICE_NETWORK_MAX_GUESTS")
    assert (config.heartbeat_s, origins["network.heartbeat_s"]) == (2.0, "config.toml:5")
    assert (config.detect_s, origins["network.detect_s"]) == (9.0, "wan.toml:9")
    assert (config.min_sites, origins["session.min_sites"]) == (3, "default")


def test_all_errors_at_once_each_with_its_line_and_fix(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'profile = "moon"\n[node]\nname = "two words"\n\n[network]\nlisten = ["/ip4/1.2.3/tcp/1"]\n'
        'heartbeats = 1\nmdns = "yes"\n[session]\nmin_sites = 1\n',
    )
    found = problems(
        path, environment={"COPPICE_LOG_LEVEL": "loud", "COPPICE_NETWORK_MDN": "1"}, flags={"x.y": 1}
    )
    assert set(found) == {
        "profile", "node.name", "network.listen", "network.heartbeats", "network.mdns", "session.min_sites",
        "log.level", "COPPICE_NETWORK_MDN", "x.y",
    }  # fmt: skip
    assert "config.toml:1" in found["profile"]
    assert "config.toml:6" in found["network.listen"]
    assert "did you mean network.heartbeat_s?" in found["network.heartbeats"]
    assert "config.toml:10" in found["session.min_sites"]
    assert "from 2 to 4096" in found["session.min_sites"]
    assert "use one of debug, info" in found["log.level"]
    assert "did you mean COPPICE_NETWORK_MDNS?" in found["COPPICE_NETWORK_MDN"]


def test_settings_that_contradict_each_other_are_named() -> None:
    found = problems(
        None,
        environment={},
        profile="localhost",
        flags={
            "network.heartbeat_s": Text("2"),
            "cluster.min": 6,
            "session.collect_s": 90.0,
            "mesh.settle_s": 600.0,
        },
    )
    assert set(found) == {
        "network.detect_s", "cluster.target", "cluster.max", "session.collect_s", "mesh.settle_s",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[network\n", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"# " + b"x" * 300_000, "larger than"),
        (b"network = 3\n", "no such setting"),
    ],
)
def test_files_that_are_no_settings(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    assert any(says in sentence for sentence in problems(path, environment={}).values())


def test_a_missing_file_is_an_empty_one(tmp_path: Path) -> None:
    assert resolve(tmp_path / "none.toml", environment={}).profile == "lan"


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    assert "cannot be read" in problems(tmp_path, environment={})[""]


def test_other_environment_variables_are_nobodys_business() -> None:
    resolve(
        None,
        environment={"COPPICE_HOME": "/x", "COPPICE_VECTORS": "y", "PATH": "z", "COPPICE_PASSPHRASE": "p"},
    )


@pytest.mark.parametrize(
    "address",
    ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/65535", "/dns4/node.example/tcp/1", "/ip4/0.0.0.0/tcp/4710"],
)
def test_addresses_that_are_good(address: str) -> None:
    assert SETTINGS["network.listen"].check(Text(address)) == (address,)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:80", "/ip4/256.0.0.1/tcp/1", "/ip4/1.2.3.4/udp/1", "/ip4/1.2.3.4/tcp/65536",
        "/ip4/1.2.3.4/tcp/-1", "/ip4/1.2.3.4/tcp/1/p2p/x",
        "/ip6/1.2.3.4/tcp/1", "/dns4/-bad-/tcp/1", "/ip4/1.2.3.4/tcp/²", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not(address: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        SETTINGS["network.listen"].check((address,))


@pytest.mark.parametrize("key", sorted(SETTINGS))
def test_every_default_passes_its_own_check_and_every_fix_says_something(key: str) -> None:
    setting = SETTINGS[key]
    assert setting.check(setting.default) == setting.default
    assert getattr(Config(), setting.attribute) == setting.default
    assert len(setting.fix()) > 10


@given(st.sampled_from(sorted(SETTINGS)), st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_text_either_becomes_a_legal_value_or_a_value_error(key: str, text: str) -> None:
    setting: Setting = SETTINGS[key]
    try:
        value = setting.check(Text(text))
    except ValueError:
        return
    assert setting.check(value) == value
