"""What an owner lets happen to a lab at one time."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from testbed.agent import deployment, owner
from testbed.agent.claims import Claims
from testbed.agent.kernel_part import KernelPart
from testbed.agent.lab import Document, OwnedLab
from testbed.agent.link_desk import LinkDesk
from testbed.agent.runs import Executed
from testbed.bus import messages
from testbed.errors import HostError, UsageError
from testbed.run.fidelity import FidelityBounds, judge_fidelity
from tests.unit.agent.bus_world import PLAN, MemoryDriver, MemoryFabric, execute


class Desk:
    """A desk that answers with its lab's name for its links."""

    def __init__(self, links: str) -> None:
        self.links = links

    def ways(self, _port: str, _direction: str) -> None: ...

    def show(self, _ways: None) -> list[Document]:
        return [{"from": "h1:eth1", "links": self.links}]


def test_a_link_is_not_touched_while_its_lab_becomes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    labs = owner.LabOwner(cast(Any, MemoryDriver()), lambda *_: cast(Any, MemoryFabric()), execute)
    labs.deploy(messages.DeployBody(plan=PLAN, dilation=1))
    answers: list[Document] = []
    asked = messages.ImpairBody(lab="tiny", node="h1", port="eth1", action="show")
    impairing = threading.Thread(target=lambda: answers.append(labs.impair("tiny", asked)))

    def lead_over(_driver: object, present: OwnedLab, *_: object) -> list[Document]:
        present.links = cast(LinkDesk, Desk("old"))
        impairing.start()
        impairing.join(0.2)
        assert impairing.is_alive()
        present.links = cast(LinkDesk, Desk("new"))
        return []

    monkeypatch.setattr(deployment, "lead_over", lead_over)
    done = labs.deploy(messages.DeployBody(plan={**PLAN, "seed": 2}, dilation=1, reconcile=True))
    impairing.join(10)
    assert done["changed"] and done["lost"] == []
    assert answers == [{"directions": [{"from": "h1:eth1", "links": "new"}]}]


def placed_plan(plan: Document) -> Document:
    """Return a plan of one agent, a, among several."""
    nodes = [{**node, "agent": "a"} for node in plan["nodes"]]
    return {**plan, "nodes": nodes, "machines": {"a": "10.0.0.1", "b": "10.0.0.2"}}


class DeafFabric(MemoryFabric):
    """A data plane that hears nobody, and runs with nobody."""

    def listen(self, address: str) -> int:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")


class LonelyFabric(MemoryFabric):
    """A data plane that runs with nobody."""

    def join(self, participants: str) -> None:
        raise ValueError("agent 7 of 1")


def owner_of(fabric: MemoryFabric, underlay: str | None = "10.0.0.1") -> tuple[owner.LabOwner, MemoryDriver]:
    driver = MemoryDriver()
    return owner.LabOwner(cast(Any, driver), lambda *_: cast(Any, fabric), execute, None, "a", underlay), driver


def test_a_lab_of_several_agents_reports_where_its_data_plane_listens() -> None:
    labs, _ = owner_of(MemoryFabric())
    body = messages.DeployBody(plan=placed_plan(PLAN), dilation=1)
    assert labs.deploy(body) == {"lab": "tiny", "changed": True, "beats_port": 4000}
    assert labs.deploy(body) == {"lab": "tiny", "changed": False, "beats_port": 4000}
    with pytest.raises(UsageError, match="runs only with all of them"):
        labs.run(messages.RunBody(lab="tiny", spec={"steps": 1}), lambda _: None)


def test_an_agent_that_cannot_be_reached_builds_nothing() -> None:
    fabric = DeafFabric()
    labs, driver = owner_of(fabric)
    with pytest.raises(HostError, match="Cannot assign requested address"):
        labs.deploy(messages.DeployBody(plan=placed_plan(PLAN), dilation=1))
    assert fabric.closed.is_set() and driver.system == {}
    labs, driver = owner_of(fabric, "10.0.0.9")
    with pytest.raises(UsageError, match=r"another underlay address for it than its own, 10\.0\.0\.9"):
        labs.deploy(messages.DeployBody(plan=placed_plan(PLAN), dilation=1))
    assert driver.system == {}


def test_a_party_that_is_none_is_the_askers_fault() -> None:
    labs, _ = owner_of(LonelyFabric())
    labs.deploy(messages.DeployBody(plan=placed_plan(PLAN), dilation=1))

    def run(number: int, **members: str) -> None:
        agents = [messages.Participant(name=name, address=address) for name, address in members.items()]
        party = messages.Participants(key=1, number=number, agents=agents)
        labs.run(messages.RunBody(lab="tiny", spec={"steps": 1}, party=party), lambda _: None)

    with pytest.raises(UsageError, match="party: agent 7 of 1"):
        run(7, a="10.0.0.1:4000", b="10.0.0.2:4000")
    # What keeps step goes to the machines of the lab and nowhere else.
    with pytest.raises(UsageError, match="agents a, b"):
        run(0, a="10.0.0.1:4000")
    with pytest.raises(UsageError, match=r"agent b is at 10\.0\.0\.2, not at 192\.0\.2\.1"):
        run(0, a="10.0.0.1:4000", b="192.0.2.1:4000")
    # The lab is free again.
    assert labs.inspect("tiny")["busy"] is False


def run(labs: owner.LabOwner) -> Document:
    return labs.run(messages.RunBody(lab="tiny", spec={"steps": 1}), lambda _: None)


def test_a_run_on_a_lab_that_is_not_as_planned_is_refused_with_the_reason() -> None:
    labs, driver = owner_of(MemoryFabric())
    labs.deploy(messages.DeployBody(plan=PLAN, dilation=1))
    driver.altered = {"h1": "eth1 has no carrier"}
    with pytest.raises(
        HostError, match="lab tiny is not as planned: h1: eth1 has no carrier; `testbed deploy` restores it"
    ):
        run(labs)
    assert labs.health("tiny")["nodes"] == {"h1": {"state": "unhealthy", "reason": "eth1 has no carrier"}}
    seen = labs.inspect("tiny")
    assert (seen["state"], seen["faults"], seen["busy"]) == ("broken", driver.altered, False)
    driver.altered = {}
    assert run(labs) == {"steps": 1, "echo": ""}


def test_a_lab_that_was_altered_during_a_run_makes_it_untrusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KernelPart, "complete", lambda _part, report: report)
    driver = MemoryDriver()

    def execute_and_alter(*_: object) -> Executed:
        driver.altered = {"h1": "eth1 is down"}
        return Executed({"report": {"fidelity": {}}})

    labs = owner.LabOwner(cast(Any, driver), lambda *_: cast(Any, MemoryFabric()), execute_and_alter)
    labs.deploy(messages.DeployBody(plan=PLAN, dilation=1))
    assert run(labs)["report"]["fidelity"]["altered"] == {"h1": "eth1 is down"}
    doubts = judge_fidelity({"altered": {"h1": "eth1 is down"}}, FidelityBounds())
    assert doubts[0] == "untrusted: h1 was altered during the run: eth1 is down"


def test_of_two_agents_one_drives_a_lab(tmp_path: Path) -> None:
    driver = MemoryDriver()
    one, other = (
        owner.LabOwner(cast(Any, driver), lambda *_: cast(Any, MemoryFabric()), execute, claims=Claims(name, tmp_path))
        for name in ("agent local", "agent lab1")
    )
    body = messages.DeployBody(plan=PLAN, dilation=1)
    one.deploy(body)
    said = rf"lab tiny is driven by agent local, process {os.getpid()} \("
    for refused in (lambda: other.deploy(body), lambda: other.destroy("tiny"), lambda: run(other)):
        with pytest.raises(HostError, match=said):
            refused()
    (row,) = other.list()
    assert (row["state"], row["owner"].partition(",")[0]) == ("foreign", "agent local")
    assert other.health("tiny")["nodes"]["h1"]["reason"].startswith("its lab is driven by agent local, process")
    assert [row["state"] for row in one.list()] == ["running"] and run(one)
    one.close()
    assert other.list()[0]["state"] == "broken"
    other.deploy(body)
    with pytest.raises(HostError, match="driven by agent lab1"):
        one.deploy(body)
    assert other.destroy("tiny")["changed"] and not tmp_path.exists()
