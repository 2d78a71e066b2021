"""States in the journal: they take the place of what was stored before, which may have to be unreadable."""

from __future__ import annotations

import pytest
from nacl.secret import SecretBox

from mesh.runtime.journal import Journal
from mesh.runtime.resumption import plan_of
from protocols.arithmetic.xof import derive
from protocols.identifiers import Digest
from protocols.sessions.excerpt import KnownPlan
from protocols.sessions.records import Closed, Dealt, HandedOver, Snapshot
from protocols.wire import codec
from tests.runtime.test_journal_disk import ONE, SECRET, SEEDLIKE, TWO, everything, rows
from tests.scenarios.pump import make_keys, make_plan


def state(erases):
    known = codec.encode(KnownPlan.of(make_plan(make_keys(8))))
    return Snapshot(known, 1.0, 2.0, Digest(bytes(32)), b"a state", erases)


@pytest.mark.parametrize("last", [HandedOver(KnownPlan.of(make_plan(make_keys(8)))), state(erases=True)])
async def test_what_was_stored_before_a_handover_is_unreadable_at_once_with_the_nodes_key_too(
    tmp_path, nursery, last
):
    """Another session is live, so the log would not be cut off for long; raw files are looked at."""
    path = tmp_path / "journal.db"
    journal = Journal(path, SECRET)
    await nursery.start(journal.run)
    await journal.begin(TWO)
    await journal.begin(ONE)
    await journal.persist(ONE, [Closed("C-302", SEEDLIKE.hex()), Dealt(0)])

    def on_disk() -> bytes:
        return b"".join(file.read_bytes() for file in sorted(tmp_path.glob("journal.db*")))

    ((key,),) = rows(path, f"SELECT key FROM sessions WHERE session = x'{ONE.hex()}'")
    bodies = [bytes(body) for (body,) in rows(path, "SELECT body FROM records")]
    node = SecretBox(derive(SECRET, "journal keys"))
    assert SEEDLIKE.hex().encode() in SecretBox(node.decrypt(key)).decrypt(bodies[0]), (
        "before: the key opens it"
    )
    assert bytes(key) in on_disk()

    plan = make_plan(make_keys(8))
    await journal.persist(ONE, [Dealt(1), last, Dealt(2)])
    left = on_disk()
    assert bytes(key) not in left
    assert not any(body in left for body in bodies)
    (found,) = (one for one in everything(Journal(path, SECRET)) if one.session == ONE)
    assert [kind for kind, _ in found.records] == [type(last).__name__, "Dealt"], "and what follows it"
    assert plan_of(found, plan.initiator) == plan, "to learn with how it ended"
    nursery.cancel_scope.cancel()


async def test_a_state_takes_the_place_of_all_that_was_stored_before(tmp_path, nursery):
    path = tmp_path / "journal.db"
    journal = Journal(path, SECRET)
    await nursery.start(journal.run)
    for one in (TWO, ONE):
        await journal.begin(one)
        await journal.persist(one, [Dealt(0), Dealt(1)])
    await journal.persist(ONE, [Dealt(2), state(erases=False), Dealt(3)])
    await journal.persist(ONE, [Dealt(4)])
    kinds = {one.session: [kind for kind, _ in one.records] for one in everything(Journal(path, SECRET))}
    assert kinds == {ONE: ["Snapshot", "Dealt", "Dealt"], TWO: ["Dealt", "Dealt"]}
    nursery.cancel_scope.cancel()


async def test_a_session_that_handed_its_share_over_never_looks_like_one_that_said_nothing(tmp_path, nursery):
    """Power may fail after any transaction; a session without records would begin anew."""
    path = tmp_path / "journal.db"
    journal = Journal(path, SECRET)
    commit, left = journal._commit, []

    def committed(batch):
        commit(batch)
        left.append(len(rows(path, "SELECT body FROM records")))

    journal._commit = committed
    await nursery.start(journal.run)
    await journal.begin(ONE)
    await journal.persist(ONE, [Dealt(0)])
    await journal.persist(ONE, [Dealt(1), HandedOver(KnownPlan.of(make_plan(make_keys(8))))])
    assert left[0] == 0
    assert min(left[1:]) > 0
    nursery.cancel_scope.cancel()
