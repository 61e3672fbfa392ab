"""Carry the bytes of TCP connections from sockets that listen elsewhere to ports of the network namespace that this runs in.

A program of its own, of the standard library alone: `relay.py FD:PORT …`, where each descriptor is a listening socket that was
made in another namespace, and each port is one of this namespace's loopback.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable

_CHUNK_BYTES = 1 << 16
_HERE = "127.0.0.1"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def main(words: list[str]) -> None:
    """Relay until it is ended."""
    asyncio.run(_serve([(int(fd), int(port)) for fd, port in (word.split(":") for word in words)]))


async def _serve(pairs: list[tuple[int, int]]) -> None:
    servers = [await asyncio.start_server(_to(port), sock=socket.socket(fileno=fd)) for fd, port in pairs]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _to(port: int) -> Handler:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(_HERE, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))

    return connected


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy what comes until its sender is done, and say so to the other side."""
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


if __name__ == "__main__":
    main(sys.argv[1:])
