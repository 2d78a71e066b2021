"""Logging of a node: one line per event, to stderr, tracebacks without local variables.

Invariant: a traceback shows code lines only. structlog's default prints every local variable, and a
local variable of ours may be a share or a key.
"""

from __future__ import annotations

import logging
import sys

import structlog

QUIET = ("libp2p", "multiaddr", "async_service", "hypercorn")


def configure(level: str) -> None:
    """Set up structlog and stdlib logging. `level`: debug, info, warning, error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(stream=sys.stderr, level=number, format="%(message)s", force=True)
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
