"""What a command does when whoever reads its output has gone."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.system import output
from tests.conftest import ROOT

CODE = "import sys; from testbed.start import main; sys.argv[0] = 'testbed'; sys.exit(main())"


def closed_pipe() -> int:
    """Return the writing end of a pipe whose reading end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(
    "arguments",
    [
        ("profiles",),  # a table of rich, which ends with 1 by itself
        ("headroom", "--rate", "400G", "--length", "10km", "--format", "json"),
        ("--help",),  # Typer's own words, and its end with 1
    ],
)
def test_a_closed_pipe_is_no_failed_expectation(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=(writing := closed_pipe()),
        stderr=subprocess.PIPE,
        text=True,
        timeout=100,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_closed_standard_error_is_none_either(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, "validate", "-t", "no-such-lab"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=(writing := closed_pipe()),
        timeout=100,
    )
    os.close(writing)
    assert done.returncode == 141


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_quiet_follower_ends_when_its_reader_goes(kind: str) -> None:
    async def scene() -> None:
        if kind == "pipe":
            reading, writing = os.pipe()
        else:
            reading, writing = (end.detach() for end in socket.socketpair())
        began = asyncio.Event()

        async def follow() -> None:
            async with output.until_reader_goes(writing):
                began.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(follow())
        await began.wait()
        os.close(reading)
        with pytest.raises(output.ReaderGone):
            await asyncio.wait_for(task, 10)
        os.close(writing)

    asyncio.run(scene())


def test_a_file_has_no_reader_that_could_go(tmp_path: Path) -> None:
    async def scene(descriptor: int) -> str:
        async with output.until_reader_goes(descriptor):
            return "done"

    with (tmp_path / "out").open("w") as file:
        assert asyncio.run(scene(file.fileno())) == "done"
        output.require_reader(file.fileno())


def test_an_interrupt_is_not_taken_for_a_reader_that_went() -> None:
    async def scene(descriptor: int) -> None:
        async with output.until_reader_goes(descriptor):
            await asyncio.Event().wait()

    async def cancelled() -> None:
        reading, writing = os.pipe()
        task = asyncio.create_task(scene(writing))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        os.close(reading)
        os.close(writing)

    asyncio.run(cancelled())


def test_who_leaves_silently_says_nothing_at_its_end() -> None:
    """Clients of the bus that are torn down with their loop print tracebacks from their finalizers, for nobody to read."""
    program = (
        "from testbed.system import output\n"
        "class Unfinished:\n"
        "    def __del__(self): raise RuntimeError('loop is closed')\n"
        "left = Unfinished()\n"
        "output.leave_silently()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    loud = program.replace("leave_silently()", "abandon()")
    assert "loop is closed" in subprocess.run([sys.executable, "-c", loud], capture_output=True, text=True).stderr
