"""What a data plane carries is brought to rest before links change, within bounds, and what is lost is told."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from testbed.agent import data_plane
from testbed.agent.data_plane import Handover
from testbed.agent.kernel_part import KernelPart
from testbed.agent.lab import Fabric
from testbed.errors import HostError
from testbed.progress import BuildProgress


class Moving:
    """A fabric that is at rest after so many looks, over a kernel that holds frames for so many."""

    def __init__(self, looks: int, held: int = 0) -> None:
        self.looks, self.held = looks, held
        self.asked: list[Any] = []

    def quiesce(self, leaving: str, _budget: int) -> bool:
        self.asked.append(json.loads(leaving))
        return len(self.asked) > self.looks

    def holds_frames(self) -> bool:
        self.held -= 1
        return self.held >= 0

    def replace(self, _plan: str, _attachments: str) -> None:
        raise OSError(6, "eth1 in /run/netns/x: No such device or address")


def handover(moving: Moving) -> Handover:
    return Handover(cast(Fabric, moving), cast(KernelPart, moving), "{}", BuildProgress())


@pytest.mark.parametrize(("looks", "held"), [(5, 0), (0, 5), (2, 3)])
def test_all_that_is_under_way_is_waited_for(looks: int, held: int) -> None:
    moving = Moving(looks, held)
    handover(moving).quiesce({("b", "eth1"), ("a", "eth2")})
    # Twice at rest: what has just left the kernel is on its way into the fabric.
    assert len(moving.asked) == looks + held + 2
    assert moving.asked[0] == [["a", "eth2"], ["b", "eth1"]]


def test_what_never_arrives_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    monkeypatch.setattr(data_plane.time, "monotonic", lambda: float(next(now)))
    moving = Moving(10_000)
    handover(moving).quiesce(set())
    assert len(moving.asked) == data_plane.REST_S - 1


def test_losses_are_reported_and_nothing_else() -> None:
    handed = handover(Moving(0))
    handed.lose("a:eth1", "not sent before its link changed", 0)
    handed.lose("b:eth1", "not sent before its link changed", 3)
    assert handed.lost == [{"port": "b:eth1", "cause": "not sent before its link changed", "frames": 3}]


def test_a_data_plane_that_cannot_go_on_gives_the_reason() -> None:
    with pytest.raises(HostError, match=r"data plane.*eth1 in .*No such device"):
        handover(Moving(0)).replace([])
