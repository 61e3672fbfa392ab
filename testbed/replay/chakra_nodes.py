"""A node of an execution trace of Chakra, as its binary form and its JSON say the same."""

from __future__ import annotations

from dataclasses import dataclass, field

from testbed.replay.protobuf import Malformed

__all__ = ["ATTRIBUTES", "Malformed", "Node"]

ATTRIBUTES = frozenset(
    ("comm_type", "comm_size", "comm_src", "comm_dst", "comm_tag", "pg_name", "is_cpu_op", "num_ops")
)
"""Attributes that mean something here."""


@dataclass
class Node:
    """A node: its number, its kind, how long it takes in us, the nodes that it waits for, and its attributes."""

    id: int = 0
    type: int = 0
    duration: int = 0
    values: str = ""
    deps: list[int] = field(default_factory=list)
    attributes: dict[str, int | str] = field(default_factory=dict)

    def number(self, key: str) -> int | None:
        """Return an attribute that is a number; None where it is left out, or is text."""
        value = self.attributes.get(key)
        return value if isinstance(value, int) else None
