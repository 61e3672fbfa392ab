"""What an interrupt leaves of a lab, and what is said of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.control.interruption import Fate
from tests.conftest import ROOT

WAITING = "interrupted; waiting until lab clos "


class Agent:
    """Builds a lab when it is let, whatever becomes of who asked, and takes it down."""

    def __init__(self, fails: bool = False) -> None:
        self.may_build = asyncio.Event()
        self.done: list[str] = []
        self._fails = fails

    async def build(self) -> str:
        await self.may_build.wait()
        if self._fails:
            raise ValueError("no room")
        self.done.append("built")
        return "answer"

    async def destroy(self) -> None:
        self.done.append("destroyed")


async def interrupted(agent: Agent, stood: bool) -> tuple[Fate, list[str]]:
    """Interrupt a building before the agent comes to it; return what is said in the end, and was meanwhile."""
    told: list[str] = []
    fate = Fate(told.append)
    assert fate.stands == "nothing was begun"
    task = asyncio.create_task(fate.build("clos", agent.build(), stood, agent.destroy))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    agent.may_build.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    return fate, told


def test_a_lab_that_was_being_built_goes_once_the_agent_has_built_it() -> None:
    async def scene() -> None:
        agent = Agent()
        fate, told = await interrupted(agent, stood=False)
        assert agent.done == ["built", "destroyed"]
        assert told == [WAITING + "can be taken down again"]
        assert fate.stands == "lab clos was taken down again"

    asyncio.run(scene())


@pytest.mark.parametrize(("fails", "said"), [(False, "is as asked now"), (True, "is not changed: no room")])
def test_the_state_of_a_lab_that_was_being_changed_is_reported(fails: bool, said: str) -> None:
    async def scene() -> None:
        agent = Agent(fails)
        fate, told = await interrupted(agent, stood=True)
        assert agent.done == ([] if fails else ["built"])
        assert told == [WAITING + "is changed"]
        assert fate.stands == f"lab clos stood before and {said}"

    asyncio.run(scene())


def test_a_terminal_that_is_gone_keeps_no_lab() -> None:
    def tell(_: str) -> None:
        raise OSError(5, "Input/output error")

    async def scene() -> None:
        agent = Agent()
        fate = Fate(tell)
        task = asyncio.create_task(fate.build("clos", agent.build(), False, agent.destroy))
        await asyncio.sleep(0)
        task.cancel()
        agent.may_build.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
        assert agent.done == ["built", "destroyed"]

    asyncio.run(scene())


def test_an_interrupt_that_what_is_imported_would_swallow_ends_the_command(tmp_path: Path) -> None:
    """The end of a weak reference, which importing makes many of, prints an exception and goes on."""
    code = """
import os, signal, weakref
from testbed.commands.beginning import nothing_begun
class Thing: pass
with nothing_begun():
    thing = Thing()
    ending = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
    del thing
print("went on")
"""
    done = subprocess.run(
        ["env", "--default-signal=INT", sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (128 + signal.SIGINT, "")
    assert done.stderr == "interrupted before anything was begun\n"
