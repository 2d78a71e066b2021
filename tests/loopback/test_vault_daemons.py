"""A share vault over real daemons: deposited, owner stopped, read, a holder killed, erased on order.

One mesh for all tests, in their order: each goes on where the one before it ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mesh.api.outcome import RemoteError
from mesh.api.shapes import JobSpec, QuerySpec, ShareSpec
from mesh.runtime.demo.local_mesh import LocalMesh, Peer
from protocols.vault.messages import VaultErased, is_erased
from protocols.wire import codec

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"v{number}" for number in range(1, 8)]
VALUES = [20.5 + 1.75 * row + (row * row % 11) / 7 for row in range(60)]
PATIENCE_S = 60.0


def command(peer: Peer, *words: str) -> tuple[int, dict]:
    """The command line as a person runs it: exit code and JSON."""
    line = [sys.executable, str(ROOT / "node.py"), *words, "--json", "--home", str(peer.home.root)]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    return ran.returncode, json.loads(ran.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("vaults")
    mesh = LocalMesh(folder, NAMES, {"vault.renew_s": 2.0, "mesh.epoch_s": 10.0})
    file = folder / "cardio.csv"
    file.write_text("bmi\n" + "".join(f"{value!r}\n" for value in VALUES))
    with mesh:
        mesh.start()
        mesh.wait_formed(PATIENCE_S)
        yield mesh


def holders(mesh: LocalMesh, peer: Peer) -> tuple[int, list[str]]:
    """Generation and holders as one of the holders knows them."""
    held = [one for one in peer.client.shared() if one.role == "holder" and one.name == "cardio"]
    return (held[0].generation, [one.name for one in held[0].holders]) if held else (-1, [])


def mean_of(peer: Peer):
    job = peer.client.submit(JobSpec("vault:cardio", (QuerySpec("mean", "bmi"),), purpose="test"))
    deadline = time.monotonic() + PATIENCE_S
    while not (info := peer.client.job(job)).ended and time.monotonic() < deadline:
        time.sleep(0.02)
    return info


def reader_of(mesh: LocalMesh, names: list[str]) -> Peer:
    return next(p for p in mesh.running if p.name not in (*names, "v1"))


def test_share_stop_the_owner_and_another_node_reads_the_mean(local: LocalMesh) -> None:
    owner = local.peers["v1"]
    file = str(local.folder / "cardio.csv")
    code, few = command(owner, "data", "share", file, "--holders", "4", "--threshold", "2")
    assert (code, few["error"]["code"]) == (2, "C-651")
    assert "3*2+1 = 7" in few["error"]["what"]
    code, made = command(
        owner, "data", "share", file, "--holders", "4", "--threshold", "1", "--max-uses", "2"
    )
    assert code == 0, made
    assert len(made["holders"]) == 4
    local._signal(owner, signal.SIGTERM)
    local._reap(owner)
    names = [one["name"] for one in made["holders"]]
    reader = reader_of(local, names)
    began = time.monotonic()
    code, answer = command(reader, "jobs", "submit", "mean", "vault:cardio.bmi", "--watch")
    assert code == 0, answer
    assert answer["value"] == pytest.approx(np.mean(VALUES), rel=1e-15)
    assert answer["n"] == len(VALUES)
    print(f"mean by the command line: {time.monotonic() - began:.2f} s, the job {answer['seconds']} s")
    for name in names:  # a fragment is no plaintext, and nothing in clear lies about
        for path in (local.peers[name].home.root / "vaults" / "fragments").iterdir():
            body = path.read_bytes()
            assert b"bmi" not in body
            assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_a_killed_holder_is_replaced_and_the_mean_is_right_again(local: LocalMesh) -> None:
    names = next(h for p in local.running if (h := holders(local, p)[1]))
    before = max(holders(local, local.peers[name])[0] for name in names)
    victim = names[0]
    local.kill(victim)
    began = time.monotonic()
    witness = local.peers[names[1]]

    def moved() -> bool:
        generation, now = holders(local, witness)
        return generation > before and victim not in now and len(now) == 4

    local.wait_until("the seat is passed on", moved, PATIENCE_S)
    print(f"killed holder replaced in {time.monotonic() - began:.1f} s")
    _, now = holders(local, witness)
    local.wait_until(
        "the newcomer has its share",
        lambda: all(holders(local, local.peers[n])[0] > before for n in now),
        20.0,
    )
    info = mean_of(reader_of(local, now))
    assert info.result is not None, info.error
    assert info.result.value == pytest.approx(np.mean(VALUES), rel=1e-15)
    local.restart(victim)
    local.wait_formed(PATIENCE_S)

    def erased() -> bool:  # it was away while it was replaced: it learns so and erases
        return not os.listdir(local.peers[victim].home.root / "vaults" / "keys")

    local.wait_until("the one that came back erased its fragment", erased, 20.0)


def test_each_epoch_has_fresh_shares(local: LocalMesh) -> None:
    """An epoch that only time began: the same holders, another generation."""
    witness = next(p for p in local.running if holders(local, p)[1])
    generation, names = holders(local, witness)
    local.wait_until("fresh shares", lambda: holders(local, witness)[0] > generation, PATIENCE_S)
    assert sorted(holders(local, witness)[1]) == sorted(names)


def test_the_owners_rules_hold_without_the_owner(local: LocalMesh) -> None:
    witness = next(p for p in local.running if holders(local, p)[1])
    reader = reader_of(local, holders(local, witness)[1])
    code, answer = command(
        reader, "jobs", "submit", "histogram", "vault:cardio.bmi", "--bins", "0:50:10", "--watch"
    )
    assert (code, answer["error"]["code"]) == (4, "C-305")
    others = [p for p in local.running if p.name not in (reader.name, "v1")]
    ended = [mean_of(peer) for peer in others]
    assert any(info.result is None for info in ended), "max_uses 2 was to end it"
    refused = next(info for info in ended if info.result is None)
    assert refused.error.code == "C-305"
    assert "max_uses" in refused.error.what


def test_deleted_with_confirmations_and_a_job_afterwards_is_refused(local: LocalMesh) -> None:
    local.restart("v1")
    local.wait_formed(PATIENCE_S)
    owner = local.peers["v1"]
    witness = next(p for p in local.running if holders(local, p)[1])
    _, names = holders(local, witness)
    sleeper = names[-1]
    local.kill(sleeper)
    code, told = command(owner, "data", "unshare", "cardio")
    assert code == 0, told
    states = {one["name"]: one["state"] for one in told["holders"]}
    assert all(states[name] == "erased" for name in names if name != sleeper)
    assert states[sleeper] != "erased"
    for name in names[:-1]:
        assert not os.listdir(local.peers[name].home.root / "vaults" / "keys")
    code, answer = command(reader_of(local, names), "jobs", "submit", "mean", "vault:cardio.bmi", "--watch")
    assert code == 2
    assert answer["error"]["code"] == "C-654"
    local.restart(sleeper)

    def gone() -> bool:
        return not os.listdir(local.peers[sleeper].home.root / "vaults" / "keys")

    local.wait_until("the one that was away erased it too", gone, PATIENCE_S)
    local.wait_until("everybody confirmed", lambda: not owner.client.shared(), PATIENCE_S)
    with pytest.raises(RemoteError) as caught:
        owner.client.unshare("cardio")
    assert caught.value.code == "C-404"
    code, told = command(owner, "data", "shared", "--erased")
    assert code == 0, told
    (gone,) = told["vaults"]
    assert (gone["name"], gone["state"]) == ("cardio", "erased")
    assert {one["name"] for one in gone["holders"]} >= set(names)
    words = [codec.decode(VaultErased, bytes.fromhex(one["receipt"])) for one in gone["holders"]]
    assert all(is_erased(word) and word.vault.hex() == gone["vault"] for word in words)
    assert {word.party.hex() for word in words} == {one["party"] for one in gone["holders"]}


def test_a_vault_that_is_past_its_date_is_erased(local: LocalMesh) -> None:
    owner = local.peers["v1"]
    soon = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 4))
    asked = ("any-member", "v2", "nobody-of-that-name")
    made = owner.client.share(
        ShareSpec(str(local.folder / "cardio.csv"), "short", expires=soon, requesters=asked)
    )
    assert [word.split("'")[1] for word in made.warnings] == ["nobody-of-that-name"]
    names = [one.name for one in made.holders]
    assert mean_of_short(local, names).result is not None
    time.sleep(max(0.0, made.expires_at - time.time()) + 0.1)  # the date itself is what is waited for
    info = mean_of_short(local, names)
    assert info.error is not None
    local.wait_until(
        "erased",
        lambda: not any(os.listdir(local.peers[n].home.root / "vaults" / "keys") for n in names),
        PATIENCE_S,
    )


def mean_of_short(mesh: LocalMesh, names: list[str]):
    peer = reader_of(mesh, names)
    job = peer.client.submit(JobSpec("vault:short", (QuerySpec("mean", "bmi"),)))
    while not (info := peer.client.job(job)).ended:
        time.sleep(0.02)
    return info
