"""What is waited for: when a lab is as wanted, and what is said of one that is not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.drivers.containers import health_of
from testbed.health import HEALTHY, Health, Wanted, lacking

SICK = Health("unhealthy", "down: eth1")
YOUNG = Health("starting", "its HEALTHCHECK has not passed yet")


@pytest.mark.parametrize(
    ("wanted", "states", "nodes", "lack"),
    [
        (Wanted.healthy, {"a": HEALTHY, "b": HEALTHY}, [], None),
        (Wanted.healthy, {"a": HEALTHY, "b": SICK}, [], "b: down: eth1"),
        (Wanted.healthy, {"a": HEALTHY, "b": SICK}, ["a"], None),
        (Wanted.healthy, {"a": YOUNG, "b": SICK}, [], "a: its HEALTHCHECK has not passed yet; b: down: eth1"),
        (Wanted.healthy, {}, [], "no such lab is deployed"),
        (Wanted.healthy, {"a": HEALTHY}, ["c"], "no node c"),
        (Wanted.unhealthy, {"a": HEALTHY, "b": YOUNG}, [], "every node is healthy or starting"),
        (Wanted.unhealthy, {"a": HEALTHY, "b": SICK}, [], None),
        (Wanted.unhealthy, {}, [], "no such lab is deployed"),
        (Wanted.gone, {"a": SICK}, [], "still there: a"),
        (Wanted.gone, {"a": SICK}, ["b"], None),
        (Wanted.gone, {}, [], None),
    ],
)
def test_what_is_lacking_is_reported(
    wanted: Wanted, states: dict[str, Health], nodes: list[str], lack: str | None
) -> None:
    assert lacking(wanted, {node: health.data() for node, health in states.items()}, nodes) == lack


@pytest.mark.parametrize(
    ("status", "check", "expected"),
    [
        ("running", None, "healthy"),
        ("running", "healthy", "healthy"),
        ("running", "starting", "starting"),
        ("running", "unhealthy", "unhealthy"),
        ("created", None, "starting"),
        ("exited", "healthy", "unhealthy"),
    ],
)
def test_a_container_is_as_healthy_as_its_image_says(status: str, check: str | None, expected: str) -> None:
    state = {} if check is None else {"Health": {"Status": check}}
    container: Any = SimpleNamespace(status=status, attrs={"State": state})
    assert health_of(container).state == expected


def test_a_time_that_is_none_is_a_wrong_command(call_testbed: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = call_testbed("wait-for", "--name", "pair", "--timeout", "soon")
    assert (done.returncode, "--timeout" in done.stderr) == (2, True)


def test_a_state_that_was_reported_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        HEALTHY.state = "unhealthy"  # type: ignore[misc]
