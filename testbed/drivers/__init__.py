"""Drivers: what turns a fabric plan into nodes and links on a real machine, and takes them away again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

from testbed.drivers.emulation import Emulation
from testbed.health import Health
from testbed.progress import BuildProgress
from testbed.system.netem import Netem

Plan = Mapping[str, Any]


class Attachment(TypedDict):
    """Where the data plane finds a port: an interface inside a namespace; `fresh`, if it was not there before."""

    node: str
    port: str
    netns: str
    interface: str
    fresh: bool


@dataclass(frozen=True)
class ByHand:
    """What was asked of a lab since it is up, as `node:port`: ends of links without a carrier, ends whose netem was changed."""

    cut: Collection[str] = ()
    changed: Collection[str] = ()


NOTHING_BY_HAND = ByHand()


class Traffic(Protocol):
    """What a data plane carries while the links of its lab change: called in this order, each once, `lose` at any time."""

    def rest(self, leaving: Collection[tuple[str, str]]) -> None:
        """Let all that is under way arrive; links with an end (node, port) in `leaving` go then, or shrink."""

    def lose(self, port: str, cause: str, frames: int) -> None:
        """Count frames as lost at a port (`node:port`); 0 is none."""

    def replace(self, attachments: Sequence[Attachment]) -> None:
        """Hear the ports where they are now, at rest still."""


class Driver(Protocol):
    """What every driver offers. All calls block; all are safe to interrupt and to repeat. They raise DriverError."""

    def deploy(self, plan: Plan, dilation: int = 1, progress: BuildProgress | None = None) -> list[Attachment]:
        """Build the lab of a plan; a lab that already is as planned stays as it is."""

    def reconcile(
        self,
        plan: Plan,
        before: Plan | None,
        dilation: int = 1,
        progress: BuildProgress | None = None,
        traffic: Traffic | None = None,
    ) -> list[Attachment]:
        """Make a lab that stands, whose plan was `before` if that is known, that of a plan; touch only what differs."""

    def destroy(self, lab: str, spare: Collection[int] = ()) -> list[str]:
        """Remove a lab and the processes inside it, but for the process ids in `spare`. Returns its nodes."""

    def destroy_all(self, spare: Collection[int] = ()) -> dict[str, list[str]]:
        """Remove every lab. Returns the nodes of each."""

    def list_labs(self) -> dict[str, list[str]]:
        """Return the labs on this machine and their nodes, as the system itself has them."""

    def faults(self, lab: str) -> dict[str, str]:
        """Say what is wrong with nodes of a lab that stands, by node; namespaces alone are never wrong."""

    def deviations(self, plan: Plan, dilation: int, by_hand: ByHand) -> dict[str, str]:
        """Say what of each node of a lab is not as planned, by node."""

    def set_carrier(self, plan: Plan, link: tuple[str, str], up: bool, dilation: int = 1) -> None:
        """Take the carrier of a link away at both its ends, or give it back."""

    def health(self, lab: str) -> dict[str, Health]:
        """Say how each node of a lab is, by what the system knows of it."""

    def exec_in(self, lab: str, node: str, argv: Sequence[str]) -> int:
        """Run a program inside a node with this process's standard streams; return its exit status."""

    def emulations(self, plan: Plan, dilation: int = 1) -> list[Emulation]:
        """Say for each link of a plan who will impose it."""

    def impair(self, lab: str, endpoint: str, change: Mapping[str, Any], dilation: int = 1) -> Netem:
        """Change what netem does to the frames that leave an end of a link (`node:port`)."""

    def configured(self, lab: str, endpoint: str) -> Netem | None:
        """Return what netem does to the frames that leave an end of a link; None if the link is native."""

    def shape(self, lab: str, node: str, port: str, rate_bps: int) -> None:
        """Limit the kernel traffic that a host sends to `rate_bps` of wall time."""
