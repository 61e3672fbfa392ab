"""Ports by names and patterns."""

from __future__ import annotations

import pytest

from testbed.control.ports import chosen_ports
from testbed.errors import UsageError

KNOWN = [f"leaf{leaf}:eth{port}" for leaf in (1, 2, 10, 11) for port in (1, 2, 12)] + ["a1:eth1", "spine-1:eth1"]


@pytest.mark.parametrize(
    ("patterns", "ports"),
    [
        (["leaf1:eth1"], ["leaf1:eth1"]),
        (["gone:eth1"], ["gone:eth1"]),
        (["leaf[1-2]:eth1"], ["leaf1:eth1", "leaf2:eth1"]),
        (["leaf[2-10,11]:eth[12]"], ["leaf2:eth12", "leaf10:eth12", "leaf11:eth12"]),
        (["leaf1?:eth?"], ["leaf10:eth1", "leaf10:eth2", "leaf11:eth1", "leaf11:eth2"]),
        (["spine-*:*", "a1:eth1", "a?:*"], ["spine-1:eth1", "a1:eth1"]),
        (["*:*"], KNOWN),
    ],
)
def test_ports_that_are_chosen(patterns: list[str], ports: list[str]) -> None:
    assert list(map(str, chosen_ports(patterns, KNOWN))) == ports


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("leaf3*:eth1", r"no port of the lab that has a link fits leaf3\*:eth1"),
        ("*", r"no port of the lab that has a link fits \*"),
        ("leaf[1:eth1", "is not a pattern of ports"),
        ("leaf[a-b]:eth1", "is not a pattern of ports"),
        ("leaf1", r"leaf1: .* is not an endpoint"),
        ("*a" * 9 + ":*", "is not a pattern of ports"),
        ("*" * 300, "is not a pattern of ports"),
    ],
)
def test_what_names_no_port_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen_ports([pattern], KNOWN)
