"""Drivers: what turns a fabric plan into nodes and links on a real machine, and takes them away again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from testbed.contract.plan import Attachment


@dataclass(frozen=True)
class ByHand:
    """What was asked of a lab since it is up, as `node:port`: ends of links without a carrier, ends whose netem was changed."""

    cut: Collection[str] = ()
    changed: Collection[str] = ()


NOTHING_BY_HAND = ByHand()


class Traffic(Protocol):
    """What a data plane carries while the links of its lab change: called in this order, each once, `lose` at any time."""

    def quiesce(self, leaving: Collection[tuple[str, str]]) -> None:
        """Let all that is under way arrive; links with an end (node, port) in `leaving` go then, or shrink."""

    def lose(self, port: str, cause: str, frames: int) -> None:
        """Count frames as lost at a port (`node:port`); 0 is none."""

    def replace(self, attachments: Sequence[Attachment]) -> None:
        """Hear the ports where they are now, at rest still."""
