"""Whether an exception says that a service, or this machine, is asked for too much. Told by its looks: no library is imported.

Known by sight are what requests, httpx, aiohttp, urllib, botocore, grpc, google-api-core, openai and their like raise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flatout._record import record

TYPE_CHECKING = False  # typing itself takes 2-4 ms to import
if TYPE_CHECKING:
    from typing import Any, Literal

    Sort = Literal["rate", "busy", "broken"]
else:
    Sort = str

LONGEST = 86_400.0  # seconds that a service is believed to want to be left alone: a day; guessed
TOO_MANY, UNAVAILABLE = 429, 503  # of HTTP
_OUT_OF_FILES = {"EMFILE", "ENFILE"}
_BROKEN = {"ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE", "ETIMEDOUT"}
# Classes that stand for connections refused, reset and timed out without being ConnectionError or TimeoutError.
_BROKEN_NAMES = {
    *("ConnectError", "ConnectionError", "ReadError", "RemoteProtocolError", "ServerDisconnectedError"),
    *("Timeout", "TimeoutException", "ServerTimeoutError"),
}
_EXHAUSTED_NAMES = {"RESOURCE_EXHAUSTED", "ResourceExhausted"}
_THROTTLED = ("Throttl", "TooManyRequests", "SlowDown", "RequestLimitExceeded")  # in botocore's error codes


@record
class Overload:
    """What an exception says of it.

    sort: "rate", too many calls a second; "busy", too many at once; "broken", a connection refused, reset or timed out,
    which may have other reasons. what: for people. retry_after: seconds to leave the service alone, None where it does
    not say.
    """

    sort: Sort
    what: str
    retry_after: float | None = None


def overload_of(error: BaseException, date: Callable[[], float] | None = None) -> Overload | None:
    """What the exception says of overload; None: nothing. Never raises.

    date: tells the seconds since the epoch, for a `Retry-After` that is a date in a response that has none of its own.
    """
    try:
        return _judged(error, date)
    except KeyboardInterrupt:
        raise
    except BaseException:  # by a property of the user's
        return None


def _judged(error: BaseException, date: Callable[[], float] | None) -> Overload | None:
    response = getattr(error, "response", None)
    told = [_Told(source, date) for source in (error, response) if source is not None]
    status = next((one.status for one in told if one.status is not None), None)
    retry_after = next((one.retry_after for one in told if one.retry_after is not None), None)
    if status == UNAVAILABLE:
        return Overload("busy", str(status), retry_after)
    if status == TOO_MANY or (exhausted := _exhausted(error, response)) or retry_after is not None:
        what = str(status) if status is not None else exhausted or "retry_after"
        return Overload("rate", what, retry_after)
    return _from_below(error)


def _from_below(error: BaseException) -> Overload | None:
    """What the operating system, or the network, says."""
    kind, number = type(error), _errno(error)
    if number in _OUT_OF_FILES:
        return Overload("busy", "too many open files")
    known = issubclass(kind, (ConnectionError, TimeoutError)) or number in _BROKEN
    if known or not _BROKEN_NAMES.isdisjoint(base.__name__ for base in kind.__mro__):
        return Overload("broken", kind.__name__)
    reason: Any = getattr(error, "reason", None)  # of urllib.error.URLError
    return _from_below(reason) if issubclass(type(reason), OSError) and reason is not error else None


def _errno(error: BaseException) -> str:
    """The name of the number that the operating system gave."""
    number = getattr(error, "errno", None)
    if type(number) is not int:
        return ""
    from errno import errorcode

    return errorcode.get(number, "")


class _Told:
    """What an exception or a response tells: its status, and how long to wait."""

    def __init__(self, source: Any, date: Callable[[], float] | None) -> None:
        self.status = _status(source)
        seconds = _seconds(getattr(source, "retry_after", None))
        self.retry_after = seconds if seconds is not None else _from_headers(_headers(source), date)


def _status(source: Any) -> int | None:
    numbers = [getattr(source, name, None) for name in ("status", "status_code", "code")]
    if isinstance(source, dict):
        numbers.append(source.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    known = [int(n) for n in numbers if isinstance(n, int) and n in (TOO_MANY, UNAVAILABLE)]
    return known[0] if known else None


def _exhausted(error: BaseException, response: Any) -> str:
    """By what name it says that there have been too many calls; empty if it does not."""
    names = [base.__name__ for base in type(error).__mro__]
    code = getattr(error, "code", None)
    if "RpcError" in names and callable(code):  # grpc's, whose code() returns a member of an enum
        code = code()
    words = [*names, getattr(code, "name", None), getattr(error, "status", None)]
    if isinstance(response, dict):  # botocore's
        words += [name for name in [response.get("Error", {}).get("Code")] if _throttled(name)]
        words = [name if not _throttled(name) else "ResourceExhausted" for name in words]
    found = [word for word in words if isinstance(word, str) and word in _EXHAUSTED_NAMES]
    return found[0] if found else ""


def _throttled(name: Any) -> bool:
    return isinstance(name, str) and any(word in name for word in _THROTTLED)


def _headers(source: Any) -> Any:
    if isinstance(source, dict):
        return source.get("ResponseMetadata", {}).get("HTTPHeaders")
    return getattr(source, "headers", None)


def _from_headers(headers: Any, date: Callable[[], float] | None) -> float | None:
    """The seconds of `Retry-After`, which is a number or a date."""
    text = _header(headers, "Retry-After")
    if text is None or (seconds := _seconds(text)) is not None:
        return seconds if text is not None else None
    then, sent = _epoch(text), _epoch(_header(headers, "Date"))
    now = sent if sent is not None else date() if date is not None else None
    return None if then is None or now is None else _seconds(max(0.0, then - now))


def _header(headers: Any, name: str) -> Any:
    if headers is None or not hasattr(headers, "items"):
        return None
    return next((value for key, value in headers.items() if str(key).lower() == name.lower()), None)


def _seconds(value: Any) -> float | None:
    if hasattr(value, "total_seconds"):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return min(max(0.0, seconds), LONGEST) if math.isfinite(seconds) else None


def _epoch(text: Any) -> float | None:
    if not isinstance(text, str):
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None
