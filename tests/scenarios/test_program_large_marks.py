"""Marks longer than one record: kept in pieces, and a program goes on from them."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.errors import MalformedMessage
from protocols.programs import keeping
from protocols.programs.messages import Layer
from tests.scenarios.program_pump import Pump
from tests.scenarios.test_program_sessions import LINE, TABLES, WORK, value


@pytest.mark.parametrize("words", [1, 7, 19])
def test_two_of_four_members_restart_from_marks_that_were_kept_in_pieces(monkeypatch, words: int) -> None:
    monkeypatch.setattr(keeping, "PIECE_WORDS", words)
    pump, restarted = Pump(WORK, TABLES), []

    def hook(pump, sender, to, message):
        if isinstance(message, Layer) and message.layer == 21 and not pump.dead and not restarted:
            for number in (1, 2):
                pump.kill(number)
                restarted.append(number)
                pump.push(pump.now + 1.5, lambda n=number: pump.restart(n))
        return None if sender in pump.dead else message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    assert restarted == [1, 2]
    pieces = [record for _, record in pump.records if isinstance(record, keeping.KeptPiece)]
    assert len(pieces) > 3
    assert max(piece.residues.size for piece in pieces) <= words


def state(registers) -> keeping.State:
    pump = Pump(WORK, TABLES)
    pump.run()
    (kept,) = [r for p, r in pump.records if p == pump.party(1) and isinstance(r, keeping.Kept)][:1]
    return keeping.State(kept.certificate, kept.first, kept.keys, kept.mark, registers)


def test_pieces_are_bounded_and_together_the_registers() -> None:
    rng = np.random.default_rng(5)
    registers = {
        3: rng.integers(0, 1 << 60, (2, 1000, 700), dtype=np.uint64),
        9: rng.integers(0, 2, (33,)).astype(np.bool_),
        11: rng.integers(0, 1 << 60, (2,), dtype=np.uint64),
    }
    records = list(state(registers).records())
    assert [record.number for record in records[:-1]] == list(range(len(records) - 1))
    assert all(record.residues.size <= keeping.PIECE_WORDS for record in records)
    ((kept, words),) = keeping._states(records)
    back = keeping.recovery.unpacked(kept.forms, words.reshape(2, -1), kept.bits)
    assert set(back) == set(registers)
    assert all(np.array_equal(back[number], registers[number]) for number in registers)


def test_a_mark_that_was_cut_off_counts_for_nothing_and_may_be_kept_again() -> None:
    registers = {1: np.arange(2 * 300_000, dtype=np.uint64).reshape(2, -1)}
    whole = list(state(registers).records())
    assert len(whole) > 3
    assert keeping._states(whole[:-1]) == []
    ((_, words),) = keeping._states([*whole[:2], *whole])
    assert np.array_equal(words, registers[1].ravel())
    ((kept, words),) = keeping._states(whole[1:])
    with pytest.raises(MalformedMessage):
        keeping.recovery.unpacked(kept.forms, words.reshape(2, -1), kept.bits)
