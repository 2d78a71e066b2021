"""The version of the program; the distribution takes it from here. And when this process began."""

from __future__ import annotations

import time

VERSION = "0.1.0"
STARTED = time.monotonic()
"""Monotonic seconds, read as early as anything of ours is imported."""
