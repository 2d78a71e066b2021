"""Ctrl-C while modules load is heard when they are loaded, and not in the middle of one."""

from __future__ import annotations

import signal

import pytest

from mesh.cli.interrupts import kept

REACHED: list[int] = []


@pytest.fixture(autouse=True)
def _handler():
    REACHED.clear()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def load(*_: object) -> None:
    """A module that is interrupted while it loads."""
    signal.raise_signal(signal.SIGINT)
    REACHED.append(1)


def fail() -> None:
    load()
    raise ImportError


@pytest.mark.parametrize("module", [load, fail])
def test_an_interrupt_is_raised_at_the_end(module):
    with pytest.raises(KeyboardInterrupt), kept():
        module()
    assert REACHED == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_one_nothing_is_raised():
    with kept():
        REACHED.append(1)
    assert REACHED == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_handler_is_left_in_place():
    mine = lambda *_: REACHED.append(2)  # noqa: E731
    signal.signal(signal.SIGINT, mine)
    with kept():
        load()
    assert REACHED == [2, 1]
    assert signal.getsignal(signal.SIGINT) is mine
