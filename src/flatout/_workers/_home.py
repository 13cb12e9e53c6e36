"""What worker processes print and log, given out here: as if the tasks had run in this process."""

from __future__ import annotations

import sys
from typing import Any


def emit(stream: str, what: Any) -> None:
    """`stream` is "stdout", "stderr" or "log"; what: text, or the fields of a log record."""
    if stream == "log":
        _log(what)
        return
    target = sys.stdout if stream == "stdout" else sys.stderr
    if target is not None:
        target.write(what)
        target.flush()


def _log(fields: dict[str, Any]) -> None:
    import logging

    record = logging.makeLogRecord(fields)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
