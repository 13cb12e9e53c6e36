"""An HTTP server that answers each GET after a while, in a process of its own. It writes its port to stdout,
and ends when stdin does."""

from __future__ import annotations

import asyncio
import sys

ANSWERS_AFTER = 0.02  # seconds
BACKLOG = 4096  # connections that wait to be accepted


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        request = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(ANSWERS_AFTER)
        body = b"you asked for " + request.split(b" ", 2)[1]
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # whoever asked has left: a contender was cut off
    finally:
        writer.close()


async def serve() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
