"""From the owner's file to an answer: registration, consent bound to one plan, contribution."""

from __future__ import annotations

import dataclasses
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mesh.data import asking
from mesh.data.errors import DataError
from mesh.data.policy import Policy
from mesh.data.room import DataRoom
from protocols.arithmetic import field
from protocols.sessions.plan import Query
from protocols.statistics import registry
from tests.data.plans import MEAN, OPEN, OTHER, OWNER, PARTIES, make_plan


def test_add_list_show_remove(tmp_path: Path, csv: Path) -> None:
    room = DataRoom(tmp_path / "home")
    assert room.list() == ()
    info = room.add(csv, "readings")
    assert room.offers() == ()
    assert (info.rows, info.columns, info.has_policy, info.has_schema) == (20, {"temp": 20}, False, False)
    room.init_policy("readings", OPEN)
    assert [entry.name for entry in room.list()] == ["readings"]
    assert room.offers() == ("readings",)
    assert DataRoom(tmp_path / "home").show("readings").has_policy
    room.remove("readings")
    assert room.list() == ()
    assert csv.exists()
    room.add(csv, "readings")
    assert room.show_policy("readings") is None  # a policy does not outlive its data set
    for call in (room.show, room.remove, room.show_policy):
        with pytest.raises(DataError, match="no data set 'other'") as caught:
            call("other")
        assert caught.value.code == "C-612"


@pytest.mark.parametrize("name", ["", "A", "a.b", "a/b", "../a", "a" * 65, "-a"])
def test_names_that_are_not_allowed(tmp_path: Path, csv: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        DataRoom(tmp_path / "home").add(csv, name)
    assert caught.value.code == "C-613"


def test_a_taken_name_and_a_bad_file_change_nothing(tmp_path: Path, csv: Path, room: DataRoom) -> None:
    before = room.show("readings")
    other = tmp_path / "other.csv"
    other.write_text("temp\n1\n")
    with pytest.raises(DataError, match="taken") as caught:
        room.add(other, "readings")
    assert caught.value.code == "C-613"
    csv.write_text("temp\nwarm\n1\n")
    with pytest.raises(DataError) as caught:
        room.add(csv, "readings")
    assert caught.value.code == "C-606"
    other.write_text("note\nx\n")
    with pytest.raises(DataError, match="no column holds numbers"):
        room.add(other, "words")
    assert room.list() == (before,)


def test_files_are_private_and_whole(tmp_path: Path, room: DataRoom) -> None:
    folder = tmp_path / "home" / "data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert not path.name.startswith(".new-")


def test_a_damaged_catalogue_is_reported(tmp_path: Path, room: DataRoom) -> None:
    for text in (
        "{",
        "[]",
        '{"schema_version": 9, "datasets": []}',
        '{"schema_version": 1, "datasets": [{}]}',
    ):
        (tmp_path / "home" / "data" / "catalog.json").write_text(text)
        with pytest.raises(DataError) as caught:
            room.list()
        assert caught.value.code == "C-615"


def test_contributions_add_up_to_the_plaintext(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(20, 4, 120).round(3)
    plan = make_plan(
        MEAN,
        Query("variance", "temp", ()),
        Query("histogram", "temp", (0.0, 15.0, 20.0, 40.0)),
        Query("count", "*", ()),
    )
    total = np.zeros(plan.length, dtype=np.uint64)
    for number, part in enumerate(np.split(values, 4)):
        path = tmp_path / f"{number}.csv"
        path.write_text("temp\n" + "".join(f"{value}\n" for value in part))
        room = DataRoom(tmp_path / str(number))
        room.add(path, "readings")
        room.init_policy("readings", OPEN)
        assert room.authorize(plan, PARTIES[number], "lab").allowed
        vector, rows = room.contribution(plan, bytes([number]) * 32)
        assert (vector.shape, vector.dtype, rows) == ((plan.length,), np.uint64, 30)
        total = field.add(total, vector)
    mean, variance, histogram, count = registry.decode_job(plan.job, total, 4)
    assert mean.value == pytest.approx(values.mean(), rel=1e-12)
    assert variance.value == pytest.approx(values.var(ddof=1), rel=1e-9)
    assert list(histogram.value) == np.histogram(values, bins=[0, 15, 20, 40])[0].tolist()
    assert (count.value, mean.n) == (120, 120)


def test_without_policy_or_data_the_plan_is_denied(tmp_path: Path, csv: Path) -> None:
    room = DataRoom(tmp_path / "home")
    assert room.record_use(make_plan(), opened=True) == ()
    assert room.authorize(make_plan(), OWNER).rule == "dataset"
    room.add(csv, "readings")
    decision = room.authorize(make_plan(), OWNER)
    assert decision.sentence() == "DENY by rule no_policy: the owner has set no policy for 'readings'"
    with pytest.raises(DataError) as caught:
        room.contribution(make_plan())
    assert caught.value.code == "C-623"


def test_an_approval_is_of_one_plan_only(room: DataRoom) -> None:
    plan = make_plan()
    assert room.authorize(plan, OWNER).allowed
    room.contribution(plan)
    changed = [
        make_plan(nonce=b"again"),
        make_plan(Query("sum", "temp", ())),
        make_plan(dealers=5),
        make_plan(min_sites=4),
        make_plan(threshold=1),
        dataclasses.replace(plan, initiator=OWNER),
    ]
    for other in changed:
        with pytest.raises(DataError) as caught:
            room.contribution(other)
        assert caught.value.code == "C-623"


def test_denials_name_rule_and_figures(room: DataRoom) -> None:
    room.init_policy("readings", dataclasses.replace(OPEN, min_rows=31), replace=True)
    assert room.authorize(make_plan(), OWNER).sentence() == "DENY by rule min_rows: 20 < 31"
    room.init_policy("readings", dataclasses.replace(OPEN, min_threshold=2), replace=True)
    assert room.authorize(make_plan(threshold=1), OWNER).sentence() == "DENY by rule min_threshold: 1 < 2"
    room.init_policy("readings", dataclasses.replace(OPEN, requesters=("lab",)), replace=True)
    assert room.authorize(make_plan(), OWNER, "bob").rule == "requesters"
    assert room.authorize(make_plan(), OWNER, "lab").allowed
    assert room.authorize(make_plan(Query("mean", "tmp", ())), OWNER, "lab").rule == "columns"
    assert room.authorize(dataclasses.replace(make_plan(), length=7), OWNER, "lab").rule == "data"
    assert room.authorize(make_plan(), PARTIES[6], "bob").allowed  # deals nothing, so nothing to consent to


def test_a_broken_policy_file_denies(tmp_path: Path, room: DataRoom) -> None:
    (tmp_path / "home" / "data" / "readings.policy.toml").write_text("allow = [")
    decision = room.authorize(make_plan(), OWNER)
    assert not decision.allowed
    assert "C-620" in decision.sentence()


def test_set_policy_refuses_a_wrong_one_and_keeps_the_old(room: DataRoom) -> None:
    with pytest.raises(DataError, match="no column 'tmp'"):
        room.set_policy("readings", 'allow = ["mean"]\ncolumns = ["tmp"]')
    with pytest.raises(DataError, match="unknown key"):
        room.set_policy("readings", 'allow = ["mean"]\nmin_site = 9')
    with pytest.raises(DataError, match="has a policy already"):
        room.init_policy("readings", Policy())
    assert room.show_policy("readings") == OPEN


def test_a_changed_file_is_refused_until_it_is_added_again(csv: Path, room: DataRoom) -> None:
    plan = make_plan()
    assert room.authorize(plan, OWNER).allowed
    csv.write_text(csv.read_text() + "99.5,n\n" * 5)
    with pytest.raises(DataError, match="changed since it was added as 'readings'") as caught:
        room.contribution(plan)
    assert caught.value.code == "C-614"
    assert "coppice data add" in caught.value.fix
    assert "C-614" in room.authorize(make_plan(nonce=b"2"), OWNER).sentence()
    assert room.add(csv, "readings").rows == 25
    assert room.show_policy("readings") == OPEN  # adding again keeps it
    with pytest.raises(DataError, match="added anew") as caught:  # what was approved were other rows
        room.contribution(plan)
    assert caught.value.code == "C-614"
    room.record_use(plan, opened=False)
    plan = make_plan(nonce=b"3")
    assert room.authorize(plan, OWNER).allowed
    assert room.contribution(plan)[1] == 25
    csv.unlink()
    with pytest.raises(DataError) as caught:
        room.contribution(plan)
    assert caught.value.code == "C-601"


def test_a_schema_is_kept_and_bounds_contributions(tmp_path: Path, csv: Path) -> None:
    rules = tmp_path / "schema.toml"
    rules.write_text('[columns.temp]\nmin = 0\nmax = 30\nunit = "°C"\n')
    room = DataRoom(tmp_path / "home")
    info = room.add(csv, "readings", rules)
    assert (info.has_schema, info.units) == (True, {"temp": "°C"})
    rules.unlink()
    csv.write_text("temp,note\n1,n\n99,n\n")
    with pytest.raises(DataError, match="row 2") as caught:
        room.add(csv, "readings")
    assert caught.value.code == "C-608"


def test_uses_are_counted_and_given_back(room: DataRoom) -> None:
    room.init_policy("readings", dataclasses.replace(OPEN, max_uses=2), replace=True)
    plans = [make_plan(nonce=bytes([number]), min_sites=4) for number in range(4)]
    assert room.authorize(plans[0], OWNER).allowed
    assert room.authorize(plans[0], OWNER).allowed  # the same plan again is not another use
    assert room.authorize(plans[1], OWNER).allowed
    assert room.authorize(plans[2], OWNER).sentence() == "DENY by rule max_uses: 2 of 2 uses are spent"
    room.record_use(plans[0], opened=False)
    assert room.authorize(plans[2], OWNER).allowed
    room.record_use(plans[2], opened=True, roster=PARTIES[:4])
    room.record_use(plans[2], opened=False)  # what was opened cannot be given back
    assert room.authorize(plans[3], OWNER).rule == "max_uses"
    assert room.record_use(plans[3], opened=True) == ()  # never approved: nothing of ours in it
    assert [entry.kind for entry in room.history()].count("result") == 1


def test_a_result_outweighs_an_earlier_release(room: DataRoom) -> None:
    room.init_policy("readings", dataclasses.replace(OPEN, max_uses=1), replace=True)
    plan = make_plan()
    assert room.authorize(plan, OWNER).allowed
    for opened in (False, False, True, True, False):
        room.record_use(plan, opened=opened, roster=PARTIES[:4])
        assert room.authorize(plan, OWNER).rule == "ended"
        with pytest.raises(DataError) as caught:
            room.contribution(plan)
        assert caught.value.code == "C-623"
    assert [entry.kind for entry in room.history()][-2:] == ["released", "result"]
    assert room.authorize(make_plan(nonce=b"2"), OWNER).rule == "max_uses"


def test_n_against_n_minus_1_is_refused(room: DataRoom) -> None:
    first = make_plan(dealers=5)
    assert room.authorize(first, OWNER).allowed
    assert room.authorize(first, OWNER).allowed
    decision = room.authorize(make_plan(dealers=4), OWNER)
    assert decision.rule == "overlap"
    assert "differ by 1 < 3" in decision.reason
    room.record_use(first, opened=False)
    assert room.authorize(make_plan(dealers=4), OWNER).allowed
    room.record_use(make_plan(dealers=4), opened=True, roster=PARTIES[:4])
    assert room.authorize(make_plan(dealers=5, nonce=b"2"), OWNER).rule == "overlap"
    assert room.authorize(make_plan(dealers=7, nonce=b"3"), OWNER).rule == "overlap"  # it may end with five
    assert room.authorize(make_plan(dealers=7, nonce=b"3", min_sites=7), OWNER).allowed
    room.init_policy("readings", dataclasses.replace(OPEN, overlap="warn"), replace=True)
    warned = room.authorize(make_plan(dealers=5, nonce=b"4"), OWNER)
    assert warned.allowed
    assert "differ by 1" in warned.sentence()
    room.init_policy("readings", dataclasses.replace(OPEN, overlap="allow"), replace=True)
    assert room.authorize(make_plan(dealers=5, nonce=b"5"), OWNER).sentence() == "ALLOW"


def test_the_same_sites_again_only_if_none_can_drop_out(room: DataRoom) -> None:
    """Else whoever collects leaves one out the second time, and the difference is that site's own."""
    assert not room.consider(make_plan().job, OTHER, "", 5, 2).whole
    first = make_plan(dealers=5)
    assert room.authorize(first, OWNER).allowed
    room.record_use(first, opened=True, roster=PARTIES[:5])
    again = room.authorize(make_plan(dealers=5, nonce=b"2", min_sites=4), OWNER)
    assert again.rule == "overlap"
    assert "all 5 sites or none" in again.reason
    considered = room.consider(make_plan().job, OTHER, "", 5, 2)
    assert considered.allowed
    assert considered.whole
    assert room.authorize(make_plan(dealers=5, nonce=b"3", min_sites=5), OWNER).allowed


def test_a_file_added_anew_after_the_approval_is_not_contributed(room: DataRoom, csv: Path) -> None:
    plan = make_plan()
    assert room.authorize(plan, OWNER).allowed
    csv.write_text("temp,note\n7.5,n\n")
    room.add(csv, "readings")
    with pytest.raises(DataError) as caught:
        room.contribution(plan)
    assert caught.value.code == "C-614"


def test_others_learn_neither_rows_nor_columns_nor_requesters(room: DataRoom) -> None:
    for change, rule in (({"min_rows": 31}, "min_rows"), ({"requesters": ("alice",)}, "requesters")):
        room.init_policy("readings", dataclasses.replace(OPEN, **change), replace=True)
        decision = room.consider(make_plan().job, OTHER, "mallory", 5, 2)
        assert decision.rule == rule
        assert not any(secret in asking.public(decision) for secret in ("20", "alice"))
        guess = dataclasses.replace(make_plan().job, queries=(Query("mean", "guess", ()),))
        assert rule == "min_rows" or "temp" not in asking.public(room.consider(guess, OTHER, "", 5, 2))


def test_a_roster_that_shrank_on_the_way_is_reported(room: DataRoom) -> None:
    room.init_policy("readings", dataclasses.replace(OPEN, overlap="warn"), replace=True)
    for nonce, roster, warned in ((b"1", 5, False), (b"2", 5, False), (b"3", 4, True)):
        plan = make_plan(dealers=5, nonce=nonce)
        assert room.authorize(plan, OWNER).allowed
        assert bool(room.record_use(plan, opened=True, roster=PARTIES[:roster])) == warned


def test_the_beacon_needs_no_data(tmp_path: Path) -> None:
    room = DataRoom(tmp_path / "home")
    plan = make_plan(Query("beacon", "", ()))
    assert room.authorize(plan, OWNER).allowed
    vector, rows = room.contribution(plan)
    assert (vector.shape, rows) == ((4,), 0)


def test_policy_test_judges_a_job_file(tmp_path: Path, room: DataRoom) -> None:
    job = tmp_path / "job.toml"
    job.write_text('dataset = "readings"\n[[queries]]\nstatistic = "mean"\ncolumn = "temp"\n')
    assert room.test_policy(job).allowed
    room.init_policy("readings", dataclasses.replace(OPEN, min_rows=50), replace=True)
    assert room.test_policy(job).sentence() == "DENY by rule min_rows: 20 < 50"
    job.write_text('dataset = "other"\n[[queries]]\nstatistic = "mean"\ncolumn = "temp"\n')
    with pytest.raises(DataError) as caught:
        room.test_policy(job)
    assert caught.value.code == "C-612"


def test_importing_the_room_loads_no_numpy() -> None:
    code = (
        "import sys, mesh.data.room, mesh.data.partition; sys.exit(len({'numpy', 'nacl'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_histograms_together_are_judged_as_the_finer_one_they_make(room: DataRoom) -> None:
    """Two with shifted edges, in one job or in two, would count the rows between the edges."""

    def histogram(*edges: float) -> Query:
        return Query("histogram", "temp", edges)

    room.init_policy("readings", dataclasses.replace(OPEN, min_bin_width=1.0, max_bins=4), replace=True)
    narrow = make_plan(histogram(0, 10, 20), histogram(0.5, 10.5))
    assert room.authorize(narrow, OWNER).rule == "min_bin_width"
    many = make_plan(histogram(0, 4, 8, 12), histogram(2, 6, 10))
    assert room.authorize(many, OWNER).rule == "max_bins"
    assert room.authorize(make_plan(histogram(0, 10, 20), nonce=b"1", min_sites=4), OWNER).allowed
    shifted = make_plan(histogram(0.5, 10.5), nonce=b"2", min_sites=4)
    assert room.authorize(shifted, OWNER).rule == "min_bin_width"
    assert room.consider(shifted.job, OTHER, "", 5, 2).rule == "min_bin_width"
    assert room.authorize(make_plan(histogram(0, 5, 20), nonce=b"3", min_sites=4), OWNER).allowed
