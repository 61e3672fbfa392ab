"""A resolved lab off the bus is one that a file could have described, or it is refused before anything is made of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from testbed.errors import UsageError
from testbed.lab.received import read_lab
from testbed.lab.topology import load_lab

LAB = load_lab("two-dc").model_dump(mode="json", by_alias=True)
SWITCH = next(index for index, node in enumerate(LAB["nodes"]) if node["kind"] == "switch")
HOST = next(index for index, node in enumerate(LAB["nodes"]) if node["kind"] == "host")

WRONG: dict[str, tuple[Sequence[str | int], Any, str]] = {
    "a node that links lead to is called otherwise": (["nodes", HOST, "name"], "b9", "which is not there"),
    "a name that is no name": (["nodes", HOST, "name"], "a/b", '"a/b" is not a safe name'),
    "two nodes of one name": (["nodes", HOST, "name"], LAB["nodes"][SWITCH]["name"], "is there twice"),
    "a port that is none": (["links", 0, "a", 1], "nan", '"nan" is not a port name'),
    "a port with two links": (["links", 0, "a"], LAB["links"][1]["a"], "two links at"),
    "no rate": (["links", 0, "rate_bps"], 0, "link 0: rate_bps must be between 1 and"),
    "a delay before the beginning": (["links", 0, "delay_ps"], -1, "link 0: delay_ps must be between 0 and"),
    "cells of nothing": (["nodes", SWITCH, "cell_bytes"], 0, "cell_bytes must be between 1 and"),
    "a loss of two": (["links", 1, "loss"], [2, 0], "link 1: loss must be between 0 and 1"),
    "a share that overflows": (
        ["nodes", SWITCH, "thresholds", "alpha_log2"],
        10**6,
        "alpha_log2 must be between -64 and 64",
    ),
    "a share of one group that overflows": (
        ["nodes", SWITCH, "own_thresholds"],
        [{"port": "eth1", "figures": {"alpha_log2": 65}}],
        "alpha_log2 must be between -64 and 64",
    ),
    "a threshold that is none": (
        ["nodes", SWITCH, "own_thresholds"],
        [{"figures": {"xof": 1}}],
        "Extra inputs are not permitted",
    ),
    "a DSCP too few": (["nodes", SWITCH, "dscp_to_priority"], [0] * 63, "Tuple should have at least 64 items"),
    "a queue that no port has": (
        ["nodes", SWITCH, "priority_to_queue"],
        [0, 1, 2, 3, 4, 5, 6, 8],
        "less than or equal to 7",
    ),
    "a root that is a host": (["roots"], [LAB["nodes"][HOST]["name"]], "is not a switch"),
    "a route to nobody": (["nodes", SWITCH, "routes"], {"nobody": ["eth1"]}, "a route to nobody that leads nowhere"),
    "a scale-out port without a link": (
        ["nodes", HOST, "scale_out"],
        ["eth9"],
        "must be those that have links, each once",
    ),
    "a port of neither fabric": (["nodes", HOST, "scale_out"], [], "must be those that have links, each once"),
    "a port of both fabrics": (["nodes", HOST, "scale_up"], ["eth1"], "must be those that have links, each once"),
    "a host without an accelerator": (["nodes", HOST, "accelerators"], 0, "accelerators must be between 1 and"),
    "no lab at all": ([], "lab", "1 faults, the first"),
}


def test_a_lab_comes_over_the_bus_unchanged() -> None:
    assert read_lab(LAB, "spec").model_dump(mode="json", by_alias=True) == LAB


@pytest.mark.parametrize(("path", "value", "message"), WRONG.values(), ids=WRONG)
def test_a_lab_that_no_file_describes_is_refused(path: Sequence[str | int], value: Any, message: str) -> None:
    data: Any = copy.deepcopy(LAB)
    holder = data
    for step in path[:-1]:
        holder = holder[step]
    if path:
        holder[path[-1]] = value
    with pytest.raises(UsageError, match=r"^spec: ") as refused:
        read_lab(data if path else value, "spec")
    assert message in str(refused.value) and len(str(refused.value)) < 300
