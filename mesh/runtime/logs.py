"""Logging of a node: one line per event, to stderr, tracebacks without local variables.

Invariant: a traceback shows code lines only. structlog's default prints every local variable, and a
local variable of ours may be a share or a key. A log that cannot be written is lost, and nothing else is:
the log lies on the disk whose fullness it would tell of.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from typing import TextIO, cast

import structlog

QUIET = ("libp2p", "multiaddr", "async_service", "hypercorn")


class Lossy(io.TextIOBase):
    """A text stream that drops what its target does not take."""

    def __init__(self, target: TextIO) -> None:
        self._target = target

    def write(self, text: str) -> int:
        """All of `text`, or nothing that anybody would miss."""
        with contextlib.suppress(OSError):
            self._target.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the target."""
        with contextlib.suppress(OSError):
            self._target.flush()


def configure(level: str) -> None:
    """Set up structlog and stdlib logging. `level`: debug, info, warning, error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    stream = Lossy(sys.stderr)
    logging.basicConfig(stream=stream, level=number, format="%(message)s", force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(number, logging.ERROR))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, stream)),
        cache_logger_on_first_use=True,
    )
