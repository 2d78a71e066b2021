"""Settings of all tests: generated examples are the same in every run, and slow machines are no failure."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


# Started in the background of a script, a process ignores SIGINT and so would every node that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
