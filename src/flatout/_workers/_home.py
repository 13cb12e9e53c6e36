"""What worker processes print and log, given out here: as if the tasks had run in this process."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any


def emit(stream: str, what: Any) -> None:
    """`stream` is "stdout", "stderr" or "log"; what: text, or a record as it was sent."""
    if stream == "log":
        _log(*what)
        return
    target = sys.stdout if stream == "stdout" else sys.stderr
    if target is not None:
        _write(target, what)


def _write(target: Any, text: str) -> None:
    """Give the text out, as well as the stream can take it."""
    try:
        target.write(text)
    except UnicodeEncodeError as error:
        target.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
    target.flush()


def _log(fields: dict[str, Any], configures: bool) -> None:
    """configures: what it was logged by sees to it first that the root logger has a handler."""
    import logging

    if configures and not logging.root.handlers:
        logging.basicConfig()
    record = logging.makeLogRecord(fields)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
