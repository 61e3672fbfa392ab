"""Who may connect to the embedded broker: this user alone, in bounded numbers, and only with a CONNECT packet in time.

The socket stands in a directory of mode 0700 and has mode 0600; the kernel's word for who is at the other end is asked for
all the same, before a byte is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from testbed.errors import DriverError, HostError

_log = logging.getLogger(__name__)

# Connections that have not sent their CONNECT packet yet; a new one closes the oldest.
MAX_WAITING = 64
MAX_SESSIONS = 128
CONNECT_S = 5.0
# Ours have 200 bytes: a name, a password, a client id and a will of one word.
MAX_CONNECT_BYTES = 4096
# sun_path of <linux/un.h> has 108 bytes and ends in a zero.
MAX_PATH_BYTES = 107

_BACKLOG = 128
_CREDENTIALS = struct.Struct("=iII")
_CONNECT = 0x10
_MORE = 0x80
_LENGTH_BYTES = 4

Serve = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one client: what it has sent already, where the rest comes from, where answers go."""


class Admission:
    """Take connections, and hand those that may go on to `serve`."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._waiting: dict[asyncio.StreamWriter, None] = {}
        self._sessions = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Deal with one connection until it is closed."""
        try:
            if not _is_owner(writer.get_extra_info("socket")):
                _log.warning("refused a connection of another user")
                return
            first = await self._first_packet(reader, writer)
            if first is None:
                return
            if self._sessions >= MAX_SESSIONS:
                _log.warning("refused a connection: there are %d already", self._sessions)
                return
            self._sessions += 1
            try:
                await self._serve(first, reader, writer)
            finally:
                self._sessions -= 1
        finally:
            writer.close()

    async def _first_packet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        if len(self._waiting) >= MAX_WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.transport.abort()
        self._waiting[writer] = None
        try:
            async with asyncio.timeout(CONNECT_S):
                return await _read_connect(reader)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            return None
        finally:
            self._waiting.pop(writer, None)


async def _read_connect(reader: asyncio.StreamReader) -> bytes | None:
    """Return a CONNECT packet (MQTT 3.1.1, section 3.1); None if it is another one or too long."""
    packet = await reader.readexactly(1)
    if packet[0] != _CONNECT:
        return None
    length = 0
    for place in range(_LENGTH_BYTES):
        digit = await reader.readexactly(1)
        packet += digit
        length |= (digit[0] & ~_MORE) << 7 * place
        if not digit[0] & _MORE:
            return packet + await reader.readexactly(length) if length <= MAX_CONNECT_BYTES else None
    return None


def _is_owner(connection: socket.socket) -> bool:
    """Return whether a process of this user, or of root, is at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    return user in (os.geteuid(), 0)


def check_path(path: Path) -> None:
    """Raise HostError for a path that no socket can have."""
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise HostError(f"{path}: longer than the {MAX_PATH_BYTES} bytes that a socket's path may have")


@asynccontextmanager
async def listening(path: Path, serve: Serve) -> AsyncIterator[None]:
    """Listen at `path`, a socket of mode 0600, for as long as the context lasts. Raises HostError, DriverError.

    What a dead process left at `path` is replaced.
    """
    check_path(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        # The file gets the mode that the socket has when it is bound (unix(7)): there is no moment with another one.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(os.fspath(path))
        inode = path.lstat().st_ino
    except OSError as error:
        listener.close()
        raise DriverError(f"listen at {path}", error.errno or 0) from error
    server = await asyncio.start_unix_server(Admission(serve).connected, sock=listener, backlog=_BACKLOG)
    try:
        yield
    finally:
        server.close()
        # The next agent's socket may stand there already.
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_ino == inode:
                path.unlink()
