"""Marks on disk: long ones in pieces, old ones make room, the inputs stay."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from mesh.runtime.journal import Journal
from mesh.runtime.programs import marks
from mesh.runtime.programs.marks import MarkKeeper
from protocols.identifiers import Digest
from protocols.programs import keeping
from protocols.programs.keeping import Kept, KeptPiece, State
from protocols.programs.messages import FIRST, Mark
from protocols.programs.recovery import unpacked
from protocols.wire import codec
from tests.scenarios.program_pump import Pump
from tests.scenarios.test_program_sessions import TABLES, WORK

CLASSES = {kind.__name__: kind for kind in (Kept, KeptPiece)}


@pytest.fixture(scope="module")
def template() -> Kept:
    pump = Pump(WORK, TABLES)
    pump.run()
    return next(record for _, record in pump.records if isinstance(record, Kept))


def state(template: Kept, number: int, words: int) -> State:
    mark = Mark(1, number, Digest(bytes([number]) * 32)) if number else FIRST
    registers = {1: np.full((2, words // 2), number, dtype=np.uint64)}
    return State(template.certificate, template.first, template.keys, mark, registers)


async def stored(tmp_path, nursery, template, monkeypatch, words: int, count: int):
    """A keeper that was offered the inputs and `count` later marks, one at a time; what a restart reads."""
    journal = Journal(tmp_path / "journal.db", bytes(32))
    await nursery.start(journal.run)
    name = Digest(bytes([9]) * 32)
    await journal.begin(name)
    keeper, now = MarkKeeper(journal, name), 0.0
    for number in range(count + 1):
        monkeypatch.setattr(keeping, "newest", lambda *_, n=number: [state(template, n, words)])
        async with trio.open_nursery() as storing:
            keeper.keep(keeper._from, None, storing)
        assert keeper._from >= now
        now = keeper._from
    (left,) = journal.left_open()
    found = journal.unfinished(left)
    return keeping._states([codec.decode(CLASSES[kind], body) for kind, body in found.records])


async def test_a_mark_of_32_mib_is_read_back_after_a_restart(tmp_path, nursery, template, monkeypatch):
    words = 4 << 20
    (inputs, _), (kept, found) = await stored(tmp_path, nursery, template, monkeypatch, words, 1)
    assert inputs.mark == FIRST
    assert kept.mark.layer == 1
    registers = unpacked(kept.forms, found.reshape(2, -1), kept.bits)
    assert registers[1].shape == (2, words // 2)
    assert (registers[1] == 1).all()


async def test_old_marks_make_room_and_the_inputs_stay(tmp_path, nursery, template, monkeypatch):
    words = 1 << 18
    monkeypatch.setattr(marks, "MOST_STORED_BYTES", 3 * 8 * words)
    found = await stored(tmp_path, nursery, template, monkeypatch, words, 9)
    assert [kept.mark.layer for kept, _ in found] == [0, 7, 8, 9]
    monkeypatch.setattr(marks, "MOST_STORED_BYTES", 0)
    (tmp_path / "second").mkdir()
    found = await stored(tmp_path / "second", nursery, template, monkeypatch, words, 9)
    assert [kept.mark.layer for kept, _ in found] == [0, 8, 9]


async def test_the_next_mark_waits_for_as_long_as_the_last_one_is_large(
    tmp_path, nursery, template, monkeypatch
):
    journal, name = Journal(tmp_path / "journal.db", bytes(32)), Digest(bytes([9]) * 32)
    await nursery.start(journal.run)
    await journal.begin(name)
    monkeypatch.setattr(marks, "KEPT_BYTES_S", 1 << 16)
    asked = []

    def newest(*_):
        asked.append(1)
        return [state(template, 0, 1 << 17)]

    monkeypatch.setattr(keeping, "newest", newest)
    keeper, began = MarkKeeper(journal, name), trio.current_time()
    async with trio.open_nursery() as storing:
        keeper.keep(began, None, storing)
        keeper.keep(began, None, storing)  # while the first is being stored
    keeper.keep(began + 15.9, None, nursery)
    assert len(asked) == 1
    assert began + 16.0 <= keeper._from <= trio.current_time() + 16.0
