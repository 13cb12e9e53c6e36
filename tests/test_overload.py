"""Overload is told by the looks of an exception, whoever's it is."""

from __future__ import annotations

import datetime
import errno
import http
import urllib.error
from email.message import Message
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatout._errors import TaskTimeout
from flatout._limits._overload import LONGEST, Overload, overload_of

THEN = "Wed, 21 Oct 2015 07:28:00 GMT"
BEFORE = "Wed, 21 Oct 2015 07:27:30 GMT"


class Looks(Exception):
    """An exception with these attributes."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__("refused")
        vars(self).update(attributes)


def response(status: int, **headers: str) -> SimpleNamespace:
    return SimpleNamespace(status_code=status, headers={name.replace("_", "-"): text for name, text in headers.items()})


def urllib_error(code: int, retry_after: str | None = None) -> Exception:
    headers = Message()
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return urllib.error.HTTPError("http://localhost", code, "no", headers, None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Looks(status=429), Overload("rate", "429")),
        (Looks(status_code=429, retry_after=2), Overload("rate", "429", 2.0)),
        (Looks(code=http.HTTPStatus.TOO_MANY_REQUESTS), Overload("rate", "429")),
        (Looks(status=503), Overload("busy", "503")),
        (Looks(response=response(429, retry_after="1.5")), Overload("rate", "429", 1.5)),
        (Looks(response=response(503, Retry_After="7")), Overload("busy", "503", 7.0)),
        (Looks(response=response(429, retry_after=THEN, date=BEFORE)), Overload("rate", "429", 30.0)),
        (Looks(response=response(429, retry_after=BEFORE, date=THEN)), Overload("rate", "429", 0.0)),
        (Looks(response=response(403, retry_after="60")), Overload("rate", "retry_after", 60.0)),
        (Looks(retry_after=datetime.timedelta(seconds=3)), Overload("rate", "retry_after", 3.0)),
        (Looks(retry_after="4"), Overload("rate", "retry_after", 4.0)),
        (urllib_error(429, "3"), Overload("rate", "429", 3.0)),
        (urllib.error.URLError(ConnectionRefusedError()), Overload("broken", "ConnectionRefusedError")),
        (Looks(status="RESOURCE_EXHAUSTED"), Overload("rate", "RESOURCE_EXHAUSTED")),
        (OSError(errno.EMFILE, "Too many open files"), Overload("busy", "too many open files")),
        (ConnectionResetError(), Overload("broken", "ConnectionResetError")),
        (OSError(errno.ECONNREFUSED, "refused"), Overload("broken", "ConnectionRefusedError")),
        (TimeoutError(), Overload("broken", "TimeoutError")),
        (TaskTimeout("task 1 ran longer than 1 s"), Overload("broken", "TaskTimeout")),
    ],
)
def test_what_clients_raise_is_known_by_sight(error: Exception, expected: Overload) -> None:
    assert overload_of(error) == expected


def test_botocore_and_grpc_are_known_too() -> None:
    throttled = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    slow = {
        "Error": {"Code": "SlowDown"},
        "ResponseMetadata": {"HTTPStatusCode": 503, "HTTPHeaders": {"retry-after": "2"}},
    }
    assert overload_of(Looks(response=throttled)) == Overload("rate", "ResourceExhausted")
    assert overload_of(Looks(response=slow)) == Overload("busy", "503", 2.0)

    class RpcError(Exception):
        def code(self) -> Any:
            return SimpleNamespace(name="RESOURCE_EXHAUSTED")

    class ResourceExhausted(Exception):
        pass

    assert overload_of(RpcError()) == Overload("rate", "RESOURCE_EXHAUSTED")
    assert overload_of(ResourceExhausted()) == Overload("rate", "ResourceExhausted")


@pytest.mark.parametrize("name", ["ConnectError", "ReadError", "ServerDisconnectedError", "Timeout"])
def test_connections_that_fail_are_known_by_the_name_of_their_class(name: str) -> None:
    error = type("Special", (type(name, (Exception,), {}),), {})()
    assert overload_of(error) == Overload("broken", "Special")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        OSError(errno.ENOENT, "no such file"),
        Looks(status=404),
        Looks(status="429"),
        Looks(status=True, code=None),
        Looks(response=response(500)),
        Looks(response=response(403, retry_after="soon")),
        Looks(retry_after=float("nan")),
        Looks(retry_after=True),
        Looks(code=lambda: 1 / 0),
        Looks(headers=3, response=4),
        SystemExit(429 * 7),
    ],
)
def test_other_exceptions_are_not(error: BaseException) -> None:
    assert overload_of(error) is None


def test_a_date_with_no_other_beside_it_is_told_by_the_clock_that_is_given() -> None:
    error = Looks(response=response(429, retry_after=THEN))
    assert overload_of(error) == Overload("rate", "429")
    now = datetime.datetime(2015, 10, 21, 7, 27, 50, tzinfo=datetime.UTC).timestamp()
    assert overload_of(error, lambda: now) == Overload("rate", "429", 10.0)


def test_no_service_is_left_alone_for_longer_than_a_day() -> None:
    assert overload_of(Looks(retry_after=1e300)) == Overload("rate", "retry_after", LONGEST)
    assert overload_of(Looks(retry_after=-5)) == Overload("rate", "retry_after", 0.0)


class Mean(Exception):
    """Raises whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"do not ask for {name}")


def test_attributes_that_raise_say_nothing() -> None:
    assert overload_of(Mean()) is None


ODD = [
    "",
    "429",
    "soon",
    429,
    503,
    -1,
    0.5,
    1e300,
    float("nan"),
    None,
    True,
    [429],
    {"Retry-After": "x"},
    {"a": {}},
    b"3",
]
NAMES = ["status", "status_code", "code", "response", "headers", "retry_after", "errno", "reason"]


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(ODD)))
def test_it_never_raises_and_never_names_odd_seconds(attributes: dict[str, Any]) -> None:
    found = overload_of(Looks(**attributes))
    assert found is None or found.retry_after is None or 0.0 <= found.retry_after <= LONGEST
