"""Calls that wait: for time, a peer, a child, a lock, a disk; and those that wait and compute."""

from __future__ import annotations

import functools
import http.client
import os
import queue
import select
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from typing import Any
from urllib.request import OpenerDirector, ProxyHandler, build_opener

from choices.model import PORT
from choices.tasks.computing import burn
from choices.tasks.gil_free import sha256_of, stretch


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def poll(seconds: float) -> list[Any]:
    return select.select([], [], [], seconds)[0]


def ask_by_socket(number: int) -> int:
    with socket.create_connection(("127.0.0.1", int(os.environ[PORT])), timeout=60) as connection:
        connection.sendall(b"GET /%d HTTP/1.1\r\n\r\n" % number)
        return len(connection.recv(4096))


@functools.cache
def opener() -> OpenerDirector:
    return build_opener(ProxyHandler({}))


def get_by_urllib(number: int) -> int:
    with opener().open(f"http://127.0.0.1:{os.environ[PORT]}/{number}", timeout=60) as answer:
        return len(answer.read())


def get_by_http_client(number: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ[PORT]), timeout=60)
    connection.request("GET", f"/{number}")
    try:
        return len(connection.getresponse().read())
    finally:
        connection.close()


@functools.cache
def client() -> Any:
    import httpx

    return httpx.Client(trust_env=False, timeout=60)


def get_by_httpx(number: int) -> int:
    return len(client().get(f"http://127.0.0.1:{os.environ[PORT]}/{number}").content)


def wait_for_child(seconds: float) -> int:
    return subprocess.run(["sleep", str(seconds)]).returncode


def compute_in_child(iterations: int) -> int:
    code = f"total = 0\nfor i in range({iterations}): total += i"
    return subprocess.run([sys.executable, "-S", "-E", "-c", code]).returncode


LOCK = threading.Lock()


def nap_under_lock(seconds: float) -> None:
    with LOCK:
        time.sleep(seconds)


def wait_for_event(seconds: float) -> bool:
    return threading.Event().wait(seconds)


def wait_on_condition(seconds: float) -> bool:
    condition = threading.Condition()
    with condition:
        return condition.wait_for(lambda: False, seconds)


def hand_through_queue(seconds: float) -> int:
    """Wait for what another thread has not ready at once."""
    box: queue.Queue[int] = queue.Queue()
    timer = threading.Timer(seconds, box.put, (1,))
    timer.start()
    return box.get()


def wait_then_compute(how: tuple[float, int]) -> int:
    seconds, iterations = how
    time.sleep(seconds)
    return burn(iterations)


def compute_then_wait(how: tuple[float, int]) -> int:
    seconds, iterations = how
    result = burn(iterations)
    time.sleep(seconds)
    return result


def wait_then_stretch(how: tuple[float, int]) -> bytes:
    seconds, iterations = how
    time.sleep(seconds)
    return stretch(iterations)


def in_turns(how: tuple[float, int]) -> int:
    """Wait and compute ten times in turn."""
    seconds, iterations = how
    total = 0
    for _ in range(10):
        time.sleep(seconds / 10)
        total += burn(iterations // 10)
    return total


# Files and databases


def read_cached(path: str) -> int:
    with open(path, "rb") as file:
        return len(file.read())


def read_cold(path: str) -> int:
    """The system is told to forget the file first."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return len(file.read())


def hash_file(path: str) -> str:
    with open(path, "rb") as file:
        return sha256_of(file.read())


def parse_file(path: str) -> int:
    with open(path, encoding="utf-8") as file:
        return sum(len(line.split(",")) for line in file)


def write_durably(path: str) -> None:
    with open(path, "wb") as file:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())


def make_database(path: str, rows: int) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE numbers (id INTEGER PRIMARY KEY, name TEXT, value REAL)")
        connection.executemany("INSERT INTO numbers VALUES (?, ?, ?)", ((i, f"name {i}", i / 7) for i in range(rows)))
    connection.close()


def read_rows(path: str) -> int:
    """Many rows, each of which becomes Python objects with the GIL held."""
    connection = sqlite3.connect(path)
    try:
        return len(connection.execute("SELECT * FROM numbers").fetchall())
    finally:
        connection.close()


def find_rows(path: str) -> float:
    """A scan of the table by sqlite itself, on disk."""
    connection = sqlite3.connect(path)
    try:
        (total,) = connection.execute("SELECT sum(value * id) FROM numbers WHERE name LIKE '%7%'").fetchone()
    finally:
        connection.close()
    return float(total)


def in_memory(rows: int) -> int:
    """A database in memory filled and read by many small statements."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE numbers (id INTEGER, value REAL)")
    for i in range(rows):
        connection.execute("INSERT INTO numbers VALUES (?, ?)", (i, i / 7))
    (count,) = connection.execute("SELECT count(*) FROM numbers").fetchone()
    connection.close()
    return int(count)
