"""What an owner lets happen to a lab at one time."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from testbed import messages, owner
from testbed.link_desk import LinkDesk
from testbed.owned import Document, OwnedLab
from tests.unit.bus_world import PLAN, MemoryDriver, MemoryFabric, execute


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

    monkeypatch.setattr(owner, "lead_over", lead_over)
    done = labs.deploy(messages.DeployBody(plan={**PLAN, "seed": 2}, dilation=1, reconcile=True))
    impairing.join(10)
    assert done["changed"] and done["lost"] == []
    assert answers == [{"directions": [{"from": "h1:eth1", "links": "new"}]}]
