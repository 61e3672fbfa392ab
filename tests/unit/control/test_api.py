"""Labs from Python where an event loop is running, and where it is to go on."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from testbed import AsyncLab, Lab
from testbed.api import _wait
from testbed.control import inspection, verbs
from testbed.errors import UsageError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """Return what agents are asked for; they do it without doing anything."""
    asked: list[tuple[str, object]] = []

    async def deploy(_: object, trial: Any, dilation: int, *, exclusive: bool) -> dict[str, Any]:
        asked.append(("deploy", dilation))
        return {"lab": trial.lab.name, "changed": True, "stood_before": False}

    async def dilation_of(*_: object) -> int:
        return 500

    async def destroy(_: object, lab: str) -> None:
        await asyncio.sleep(0)
        asked.append(("destroy", lab))

    async def inspect(_: object, lab: str) -> list[dict[str, Any]]:
        asked.append(("inspect", lab))
        return [{"lab": lab}]

    for verb in (deploy, dilation_of, destroy):
        monkeypatch.setattr(verbs, verb.__name__, verb)
    monkeypatch.setattr(inspection, "inspect", inspect)
    return asked


WANTED = [("deploy", 500), ("inspect", "pair"), ("destroy", "pair")]


def test_a_lab_is_deployed_within_a_running_event_loop(calls: list[tuple[str, object]]) -> None:
    async def cell_of_a_notebook() -> str:
        with Lab.deploy("pair") as lab:
            return str(lab.inspect()["lab"])

    assert asyncio.run(cell_of_a_notebook()) == "pair"
    assert calls == WANTED


def test_a_lab_is_deployed_without_one_in_this_thread(calls: list[tuple[str, object]]) -> None:
    with Lab.deploy("pair") as lab:
        assert lab.inspect() == {"lab": "pair"}
    assert calls == WANTED


def test_an_event_loop_goes_on_meanwhile(calls: list[tuple[str, object]]) -> None:
    async def work() -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.create_task(turn())
        async with AsyncLab.deploy("pair") as deployed:
            assert deployed.lab.hosts == ("a1", "b1")
            assert await deployed.inspect() == {"lab": "pair"}
            with pytest.raises(UsageError, match="no port a1:eth9"):
                await deployed.impair("a1:eth9", loss="1%")
        turning.cancel()
        assert turns > 0

    asyncio.run(work())
    assert calls == WANTED


def test_a_lab_can_be_awaited_and_is_not_there_before(calls: list[tuple[str, object]]) -> None:
    async def work() -> None:
        deploying = AsyncLab.deploy("pair", dilation=7)
        with pytest.raises(UsageError, match="not up yet"):
            _ = deploying.lab
        deployed = await deploying
        assert (deployed.lab.name, deployed.lab.dilation) == ("pair", 7)
        await deployed.destroy()

    asyncio.run(work())
    assert calls == [("deploy", 7), ("destroy", "pair")]


def test_an_error_comes_through_as_it_is() -> None:
    async def work() -> None:
        with pytest.raises(UsageError, match="no lab is called"):
            Lab.deploy("nowhere")

    asyncio.run(work())


class Overtaken(BaseException):
    """What a handler of signals raises."""


def overtake(number: int, frame: object) -> None:
    raise Overtaken


# A signal that another thread takes wakes no wait of the main thread; neither does one that comes just before the wait.
@pytest.mark.parametrize("taken_by", [threading.main_thread, threading.current_thread])
@pytest.mark.parametrize(
    ("number", "handler", "raised"),
    [(signal.SIGINT, signal.default_int_handler, KeyboardInterrupt), (signal.SIGUSR1, overtake, Overtaken)],
)
def test_an_interrupt_lets_the_work_clean_up(
    number: int, handler: Any, raised: type[BaseException], taken_by: Callable[[], threading.Thread]
) -> None:
    cleaned = threading.Event()

    async def deploying() -> None:
        signal.pthread_kill(taken_by().ident or 0, number)
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async def work() -> None:
        with pytest.raises(raised):
            _wait(deploying())

    before = signal.signal(number, handler)
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work())
    finally:
        loop.close()
        signal.signal(number, before)
    assert cleaned.is_set()


@pytest.mark.parametrize("handed_over", [False, True])
def test_an_interrupt_while_the_work_is_handed_over_leaves_none_of_it(
    monkeypatch: pytest.MonkeyPatch, handed_over: bool
) -> None:
    """An interrupt before, and just after, the thread has the work ends both the work and the waiting."""

    class Interrupted(ThreadPoolExecutor):
        def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
            if function is not int and not handed_over:
                raise KeyboardInterrupt
            begun = super().submit(function, *arguments, **named)
            if function is not int:
                raise KeyboardInterrupt
            return begun

    monkeypatch.setattr("testbed.api.ThreadPoolExecutor", Interrupted)
    work = asyncio.Event().wait()

    async def notebook() -> None:
        with pytest.raises(KeyboardInterrupt):
            _wait(work)

    asyncio.run(notebook())
    assert work.cr_frame is None, "the work neither ended nor was closed"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lab")]
