"""One lab that an agent owns: its data plane, its kernel's part, and what its owner needs of a driver."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from testbed.agent.kernel_part import Counters, KernelPart
from testbed.agent.link_desk import LinkDesk
from testbed.agent.story import Story
from testbed.agent.topology import topology
from testbed.contract.plan import Attachment, Plan
from testbed.contract.report import Telemetry
from testbed.drivers import NOTHING_BY_HAND, ByHand, Traffic, emulation
from testbed.drivers.emulation import Emulation
from testbed.errors import TestbedError
from testbed.health import Health
from testbed.lab.topology import Lab
from testbed.plan.placement import agents_of, part_of
from testbed.progress import BuildProgress
from testbed.run.engine import Engine
from testbed.system.netem import Netem

Document = dict[str, Any]

_FIGURES = ("frame_hops", "ranks", "ranks_finished", "drops", "deadlocks", "fidelity")
# What the state of a lab has, as it is told without being asked.
STATE_KEYS = ("state", "driver", "dilation", "busy", *_FIGURES)


_CLOSING = "interrupted"


class Fabric(Engine, Protocol):
    """What an owner needs of a data plane besides running workloads on it."""

    def telemetry(self) -> str:
        """Return what changes while it is used, as JSON, without holding it up."""

    def end_span(self) -> None:
        """Tell no more windows apart."""

    def quiesce(self, leaving: str, budget: int) -> bool:
        """Take nothing in from hosts' kernels, but what waits at links that leave; True once what was under way has arrived."""

    def replace(self, plan: str, attachments: str) -> None:
        """Go on with another plan, at rest."""

    def resume(self) -> str:
        """Hear hosts' kernels again; return what was lost since `rest`."""

    def listen(self, address: str) -> int:
        """Open a socket at an address of this machine, by which to keep step with others; return its port."""

    def join(self, participants: str) -> None:
        """Run the workloads that are loaded from now on together with the data planes of other agents."""

    def leave(self) -> None:
        """Run them alone again."""

    def close(self) -> None:
        """Stop its thread and close its sockets."""


class LabDriver(Protocol):
    """What an owner needs of a driver: labs into the system and out of it, every call safe to repeat."""

    def deploy(self, plan: Plan, dilation: int, progress: BuildProgress) -> Sequence[Attachment]:
        """Build a lab and return where its ports are."""

    def require(self, plan: Plan) -> None:
        """Raise HostError where this machine lacks something that a plan names; touch nothing."""

    def reconcile(
        self,
        plan: Plan,
        before: Plan | None,
        dilation: int,
        progress: BuildProgress,
        traffic: Traffic | None = None,
    ) -> Sequence[Attachment]:
        """Make a lab that stands that of a plan, with what its data plane carries, and return where its ports are."""

    def destroy(self, lab: str) -> Sequence[str]:
        """Remove a lab; return its nodes, none if there was no lab."""

    def list_labs(self) -> dict[str, list[str]]:
        """Return the labs in the system and their nodes."""

    def faults(self, lab: str) -> dict[str, str]:
        """Return what is wrong with nodes of a lab that stands, by node, as far as that is known without its plan."""

    def deviations(self, plan: Plan, dilation: int, by_hand: ByHand) -> dict[str, str]:
        """Return what of each node of a lab is not as planned, by node."""

    def set_carrier(self, plan: Plan, link: tuple[str, str], up: bool, dilation: int) -> None:
        """Take the carrier of a link away at both its ends, or give it back."""

    def health(self, lab: str) -> dict[str, Health]:
        """Return how each node of a lab is."""

    def namespace_path(self, lab: str, node: str) -> str:
        """Return where the namespace of a node is."""

    def emulations(self, plan: Plan, dilation: int) -> Sequence[Emulation]:
        """Return for each link who imposes it."""

    def counters(self, lab: str) -> Counters:
        """Open the counters of the links that netem imposes."""

    def impair(self, lab: str, endpoint: str, change: Mapping[str, Any], dilation: int) -> Netem:
        """Change what netem does to the frames that leave an end of a link."""

    def configured(self, lab: str, endpoint: str) -> Netem | None:
        """Return what netem does to the frames that leave an end of a link."""


class Interrupted(TestbedError):
    """Say that a run was cut off because it was cancelled, its lab is being destroyed, or the agent is ending."""


class CurrentRun:
    """A run under way: by what id it can be cancelled, and whether it is to end, or has ended."""

    def __init__(self, run_id: str | None = None) -> None:
        self.run_id = run_id
        self.ending = threading.Event()
        self.over = threading.Event()
        self._reason = ""

    def end(self, reason: str) -> None:
        """Make it end at its next step, for a reason; the first one counts."""
        self._reason = self._reason or reason
        self.ending.set()

    def go_on(self) -> None:
        """Raise `Interrupted` if it is to end."""
        if self.ending.is_set():
            raise Interrupted(f"the run was {self._reason}")


class InterruptibleFabric:
    """A fabric that raises `Interrupted` at its next step once its run is to end.

    A workload is over for it when the kernel, too, is through with its frames.
    """

    def __init__(self, fabric: Fabric, part: KernelPart, run: CurrentRun, dilation: int = 1) -> None:
        self.dilation = dilation
        self._fabric = fabric
        self._part = part
        self._run = run

    def begin_span(self, statistics: str) -> None:
        """Count from here on, in the kernel too."""
        self._part.begin_span()
        self._fabric.begin_span(statistics)

    def record_series(self, plan: str) -> None:
        """Record series of the run."""
        self._fabric.record_series(plan)

    def series(self) -> bytes:
        """Return what was recorded."""
        return self._fabric.series()

    def load(self, workload: str) -> None:
        """Load a workload."""
        self._run.go_on()
        self._fabric.load(workload)

    def write_memory(self, rank: int, offset: int, data: bytes) -> None:
        """Fill a rank's memory."""
        self._run.go_on()
        self._fabric.write_memory(rank, offset, data)

    def read_memory(self, rank: int, offset: int, length: int) -> bytes:
        """Read a rank's memory."""
        self._run.go_on()
        return self._fabric.read_memory(rank, offset, length)

    def pauses(self) -> str:
        """Return the records of pauses."""
        return self._fabric.pauses()

    def advance(self, budget: int) -> bool:
        """Run on, unless interrupted."""
        self._run.go_on()
        over = self._fabric.advance(budget)
        if over:
            self._part.settle(self._fabric, self._run.ending)
        return over

    def telemetry(self) -> str:
        """Return what changes of the lab."""
        return self._fabric.telemetry()

    def report(self) -> str:
        """Return the fabric's report."""
        return self._fabric.report()

    def impair(self, changes: str) -> None:
        """Change links, now or later."""
        self._part.refuse_timed(json.loads(changes))
        self._fabric.impair(changes)

    def cancel_impairments(self) -> None:
        """Forget the changes that are still due."""
        self._fabric.cancel_impairments()

    def inject(self, frames: str) -> None:
        """Send raw frames."""
        self._run.go_on()
        self._fabric.inject(frames)

    def run_until(self, until_ps: int, budget: int) -> bool:
        """Run on, unless interrupted."""
        self._run.go_on()
        return self._fabric.run_until(until_ps, budget)

    def capture(self, path: str | None) -> None:
        """Write every frame into a file, until called with None."""
        self._fabric.capture(path)


@dataclass(frozen=True)
class Observation:
    """Counters of ports by (lab, node, port), labs by name, and for how long a data plane stood still to be looked at.

    By lab too: the moment at which it was looked at, `nominal_ns` and `run`, and what it is made of, where that is known.
    """

    ports: dict[tuple[str, str, str], Document]
    labs: dict[str, Document]
    stopped_s: float
    moments: dict[str, Document] = field(default_factory=dict)
    topologies: dict[str, Document] = field(default_factory=dict)


@dataclass
class OwnedLab:
    """A lab with a data plane: of a plan that several agents have, what `agent` has; they keep step by `beats_port`."""

    plan: Plan
    dilation: int
    fabric: Fabric
    part: KernelPart
    agent: str = ""
    beats_port: int | None = None
    links: LinkDesk | None = None
    written: Document | None = None
    native: Sequence[int] = ()
    lock: threading.Lock = field(default_factory=threading.Lock)
    current: CurrentRun | None = None
    closing: bool = False
    story: Story = field(default_factory=Story)
    _topology: tuple[Lab, Document] | None = None

    def begin_run(self, run_id: str | None) -> CurrentRun:
        """Note that a run begins, under `lock`; one on a lab that is being closed is to end at once."""
        self.current = run = CurrentRun(run_id)
        if self.closing:
            run.end(_CLOSING)
        return run

    def interrupt(self) -> None:
        """Make the run on this lab end at its next step, and any that begins later: the lab is about to be closed."""
        self.closing = True
        if (run := self.current) is not None:
            run.end(_CLOSING)

    @property
    def built(self) -> Plan:
        """What of the plan a driver has built here."""
        return emulation.with_native(part_of(self.plan, self.agent), self.native)

    @property
    def topology(self) -> Document | None:
        """What the lab is made of, for those who draw it; None where that is told by another agent, or not known."""
        agents = agents_of(self.plan)
        if self.links is None or (agents and agents[0] != self.agent):
            return None
        lab = self.links.lab
        if self._topology is None or self._topology[0] is not lab:
            self._topology = lab, topology(self.plan, lab, self.dilation)
        return self._topology[1]

    def close(self) -> None:
        """Stop the data plane and let go of the kernel's part."""
        self.fabric.close()
        self.part.close()


def deviations(driver: LabDriver, present: OwnedLab) -> dict[str, str]:
    """Return what of each node of a lab is not as it was asked for, by node."""
    by_hand = NOTHING_BY_HAND if present.links is None else present.links.in_the_kernel()
    return driver.deviations(present.built, present.dilation, by_hand)


def summary(present: OwnedLab, seen: Telemetry) -> Document:
    """Return what changes of a lab as a whole while it is used, from the telemetry of its data plane."""
    figures = dict(seen.items())
    return {
        "state": "running",
        "driver": present.plan.get("driver", "netns"),
        "dilation": present.dilation,
        "busy": present.lock.locked(),
        **({"agent": present.agent} if agents_of(present.plan) else {}),
        **{key: figures[key] for key in _FIGURES if key in figures},
        "current": present.story.current,
        "progress": present.story.progress,
        "last": present.story.last,
    }
