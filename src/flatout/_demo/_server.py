"""A small HTTP server that lets its clients wait; run as a script, and on the standard library alone.

It has a process of its own, so that it shares no GIL with the demo, prints its port, and ends when its standard input
does: whoever started it has ended then, however that came about.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import zlib

SHORTEST_SECONDS = 0.020
LONGEST_SECONDS = 0.060
_BACKLOG = 1024  # clients that may knock in the same moment


def delay(path: str) -> float:
    """How long the answer for a path takes, in seconds: always the same for the same path."""
    return SHORTEST_SECONDS + (LONGEST_SECONDS - SHORTEST_SECONDS) * (zlib.crc32(path.encode()) % 1000) / 999


def page(path: str) -> str:
    """What is served under a path."""
    return f"<h1>{path}</h1><p>{zlib.crc32(path.encode()):08x}</p>\n" * 20


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        request = await reader.readuntil(b"\r\n\r\n")
        path = request.split(b" ", 2)[1].decode()
        await asyncio.sleep(delay(path))
        body = page(path).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
    writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=_BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)  # there is nothing to tidy up, and clients may be in mid-request


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    asyncio.run(_serve())
