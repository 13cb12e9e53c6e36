"""The functions that the demo maps, and their inputs: what every Python has."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import hashlib
import http.client
import subprocess
import sys
import sysconfig
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from flatout._demo import _server

# Neither ast.parse (cpython#106905) nor warnings.catch_warnings can be trusted in several threads at once.
_PARSING = threading.Lock()
_PIECE_BYTES = 1 << 18  # as hashlib.file_digest reads


def count_names(path: str) -> Counter[str] | None:
    """How often a Python file uses each name; None where it cannot be parsed, as is meant of some tests."""
    try:
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return None
    return Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def fetch(url: str) -> str:
    """A page, by a client that blocks."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.netloc, timeout=30)
    try:
        connection.request("GET", where.path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


async def fetch_async(url: str) -> str:
    """A page, by a coroutine."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return body.decode()
    finally:
        writer.close()
        await writer.wait_closed()


def digest(block: tuple[str, int, int]) -> str:
    """sha256 of so many bytes of a file from an offset on; reading and hashing both let go of the GIL."""
    path, offset, size_bytes = block
    sha256 = hashlib.sha256()
    piece = memoryview(bytearray(_PIECE_BYTES))
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        while size_bytes > 0 and (got := file.readinto(piece[:size_bytes])):
            sha256.update(piece[:got])
            size_bytes -= got
    return sha256.hexdigest()


def stdlib_files() -> list[str]:
    """The .py files of this Python's standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    return [str(path) for path in sorted(root.rglob("*.py")) if "site-packages" not in path.parts]


@contextlib.contextmanager
def stdlib_blocks(count: int, block_bytes: int) -> Iterator[list[tuple[str, int, int]]]:
    """`count` overlapping blocks of a temporary file that holds the standard library, repeated if it is too short."""
    stdlib = b"".join(Path(path).read_bytes() for path in stdlib_files())
    with tempfile.NamedTemporaryFile(prefix="flatout-demo-") as file:
        file.write((stdlib * (2 * block_bytes // len(stdlib) + 1))[: 2 * block_bytes])
        file.flush()
        yield [(file.name, index * block_bytes // count, block_bytes) for index in range(count)]


@contextlib.contextmanager
def page_urls(count: int) -> Iterator[list[str]]:
    """The addresses of so many pages, while a server for them runs."""
    command = [sys.executable, "-I", "-S", _server.__file__]
    pipe = subprocess.PIPE
    # in a session of its own Ctrl-C does not reach it: it ends with its standard input
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline())
            yield [f"http://127.0.0.1:{port}/page/{number}" for number in range(count)]
        finally:
            server.stdin.close()
            server.wait()
