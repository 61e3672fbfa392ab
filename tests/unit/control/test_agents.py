"""Several agents asked at once: what becomes of a run when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testbed.bus import verbs
from testbed.bus.client import BusError
from testbed.bus.verbs import Verb
from testbed.control.agents import Agents
from testbed.errors import TestbedError, UsageError

TRIAL = cast(Any, SimpleNamespace(lab=SimpleNamespace(name="tiny"), placement=None, spec=dict))


class FakeCaller:
    """An agent that answers a run with an error, or never, and a cancel with another error."""

    def __init__(self, answer: TestbedError | None) -> None:
        self._answer = answer
        self.asked: list[tuple[str, Any]] = []
        self.heard = asyncio.Event()

    async def request(self, verb: Verb[Any], body: dict[str, Any], **_: object) -> dict[str, Any]:
        self.asked.append((verb.name, body.get("run_id")))
        self.heard.set()
        if verb is verbs.CANCEL:
            raise BusError("gone")
        if self._answer is None:
            await asyncio.Event().wait()
        raise self._answer or AssertionError("unreachable")


def asked_of(answer: TestbedError | None) -> list[tuple[str, Any]]:
    """Return what an agent was asked for by a run that ended with an error, or was given up."""

    async def work() -> list[tuple[str, Any]]:
        caller = FakeCaller(answer)
        running = asyncio.create_task(Agents({"local": cast(Any, caller)}).run(TRIAL, {}, False, lambda _: None))
        await caller.heard.wait()
        if answer is None:
            running.cancel()
        with pytest.raises(asyncio.CancelledError if answer is None else type(answer)):
            await running
        return caller.asked

    return asyncio.run(work())


@pytest.mark.parametrize("answer", [None, BusError("agent local did not answer for 20 s")])
def test_a_run_that_is_given_up_is_cancelled_by_its_id(answer: TestbedError | None) -> None:
    (run, run_id), cancel = asked_of(answer)
    assert run == "run" and len(run_id) == 32 and cancel == ("cancel", run_id)


def test_a_run_that_was_refused_is_nobodys_to_cancel() -> None:
    assert [verb for verb, _ in asked_of(UsageError("lab tiny is busy with another run"))] == ["run"]
