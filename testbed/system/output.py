"""Standard output and standard error of a command, whose reader may go away: `testbed … | head -1`.

A closed pipe is no failure of the command. Typer and rich both take it for one and exit with status 1, which means here that an
expectation failed; so a write to a closed pipe raises `ReaderGone`, which neither of them knows.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import select
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

_PLAIN_ERRORS = "testbed-plain"
_PLAIN = {
    "→": "->",
    "…": "...",
    "µ": "u",
    "μ": "u",
    "×": "x",
    "≥": ">=",
    "≤": "<=",
    "−": "-",
    "–": "-",
    "━": "-",
    "─": "-",
}
EXIT_CODE = 128 + signal.SIGPIPE
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class ReaderGone(BaseException):
    """Say that nobody reads any more what this command writes. Like an interrupt it is no error that anybody handles."""


class _Stream(io.FileIO):
    """A file that tells its closed pipe from other errors."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise ReaderGone from None


def guard() -> None:
    """Make writing to standard output or standard error raise `ReaderGone` where the pipe is closed.

    Where their encoding lacks a sign, one that it has is written instead.
    """
    codecs.register_error(_PLAIN_ERRORS, _plain)
    for name in ("stdout", "stderr"):
        old = getattr(sys, name)
        if isinstance(old, io.TextIOWrapper):
            old.flush()
            raw = _Stream(old.fileno(), "wb", closefd=False)
            # Standard error is written through, as ever; standard output line by line on a terminal only.
            new = io.TextIOWrapper(
                io.BufferedWriter(raw),
                encoding=old.encoding,
                errors=old.errors if _is_unicode(old.encoding) else _PLAIN_ERRORS,
                line_buffering=old.line_buffering,
                write_through=old.write_through,
            )
            setattr(sys, name, new)


def _is_unicode(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith("utf")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def write_json(text: str) -> None:
    """Write a JSON document on standard output; its signs are escaped where the encoding is not that of JSON (RFC 8259)."""
    if not _is_unicode(sys.stdout.encoding):
        text = re.sub(r"[^\x00-\x7f]", lambda sign: json.dumps(sign[0])[1:-1], text)
    sys.stdout.write(text)


def write_raw(raw: bytes) -> None:
    """Write bytes on standard output."""
    sys.stdout.flush()
    sys.stdout.buffer.write(raw)


def flush() -> None:
    """Write what is still held back. Raises ReaderGone where nobody reads it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


def abandon() -> None:
    """Drop what standard output still holds back, for a device that took no more of it.

    The interpreter would try to write it again at its end. A stream whose reader has gone is dropped likewise.
    """
    _lead_nowhere(sys.stdout)


def leave_silently() -> None:
    """Write nothing any more: what the interpreter finds unfinished at its end is of no use to who has gone."""
    _lead_nowhere(sys.stderr)


def _lead_nowhere(chosen: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if stream is chosen or _is_closed(stream.fileno()):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def watched(descriptor: int) -> bool:
    """Return whether a descriptor has a reader that may go: a pipe or a socket."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def require_reader(descriptor: int) -> None:
    """Raise ReaderGone if the other end of a pipe or socket is closed."""
    if watched(descriptor) and _is_closed(descriptor):
        raise ReaderGone


def _is_closed(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & _GONE for _, events in poll.poll(0))


@asynccontextmanager
async def until_reader_goes(descriptor: int) -> AsyncIterator[None]:
    """Cancel what is inside, and raise ReaderGone, as soon as the other end of a pipe or socket is closed."""
    import asyncio  # a command that only writes goes without

    if not watched(descriptor):
        yield
        return
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    gone = False

    def poll_reader() -> None:
        nonlocal gone
        # A socket is readable for other reasons too.
        if _is_closed(descriptor):
            gone = True
            loop.remove_reader(descriptor)
            task.cancel()

    # The writing end of a pipe is never readable, but for the error that it has when the reading end closes.
    loop.add_reader(descriptor, poll_reader)
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ReaderGone from None
        raise
    finally:
        loop.remove_reader(descriptor)
