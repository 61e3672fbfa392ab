"""What an agent owns and does: labs in the system, one data plane for each, and the verbs on them.

Knows nothing of MQTT.

Verbs are called from many threads at once. Each lab has a lock that serialises what happens to it; `destroy` does not
wait for a run to end by itself but interrupts it first. Every verb may be repeated and may be cut off at any moment:
the truth about what exists is in the system, and this object only adds who is alive.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

from testbed import emulation, messages
from testbed.emulation import Emulation
from testbed.errors import HostError, TestbedError, UsageError
from testbed.execution import Engine
from testbed.kernel_part import Counters, KernelPart
from testbed.ledger import Ledger
from testbed.link_desk import LinkDesk, read_impairment, read_lab
from testbed.netem import Netem
from testbed.topology import Lab

_log = logging.getLogger(__name__)

Document = dict[str, Any]
Progress = Callable[[Document], None]


class Fabric(Engine, Protocol):
    """What an owner needs of a data plane besides running workloads on it."""

    def capture(self, path: str | None) -> None:
        """Write every frame into a file, until called with None."""

    def cancel_impairments(self) -> None:
        """Forget the changes of links that are still due."""

    def close(self) -> None:
        """Stop its thread and close its sockets."""


class LabDriver(Protocol):
    """What an owner needs of a driver: labs into the system and out of it, every call safe to repeat."""

    def deploy(self, plan: Document, dilation: int) -> Sequence[Mapping[str, Any]]:
        """Build a lab and return where its ports are."""

    def destroy(self, lab: str) -> Sequence[str]:
        """Remove a lab; return its nodes, none if there was no lab."""

    def list_labs(self) -> dict[str, list[str]]:
        """Return the labs in the system and their nodes."""

    def faults(self, lab: str) -> dict[str, str]:
        """Say what is wrong with nodes of a lab that stands, by node."""

    def namespace_path(self, lab: str, node: str) -> str:
        """Return where the namespace of a node is."""

    def emulations(self, plan: Document, dilation: int) -> Sequence[Emulation]:
        """Say for each link who imposes it."""

    def counters(self, lab: str) -> Counters:
        """Open the counters of the links that netem imposes."""

    def impair(self, lab: str, endpoint: str, change: Mapping[str, Any], dilation: int) -> Netem:
        """Change what netem does to the frames that leave an end of a link."""

    def configured(self, lab: str, endpoint: str) -> Netem | None:
        """Return what netem does to the frames that leave an end of a link."""


class Interrupted(TestbedError):
    """Say that a run was cut off because its lab is being destroyed, or the agent is ending."""


class InterruptibleFabric:
    """A fabric whose `advance` raises `Interrupted` as soon as somebody wants the lab for something else.

    A workload is over for it when the kernel, too, is through with its frames.
    """

    def __init__(self, fabric: Engine, part: KernelPart, interrupted: threading.Event) -> None:
        self._fabric = fabric
        self._part = part
        self._interrupted = interrupted

    def load(self, workload: str) -> None:
        """Load a workload."""
        self._fabric.load(workload)

    def write_memory(self, rank: int, offset: int, data: bytes) -> None:
        """Fill a rank's memory."""
        self._fabric.write_memory(rank, offset, data)

    def read_memory(self, rank: int, offset: int, length: int) -> bytes:
        """Read a rank's memory."""
        return self._fabric.read_memory(rank, offset, length)

    def advance(self, budget: int) -> bool:
        """Run on, unless interrupted."""
        if self._interrupted.is_set():
            raise Interrupted("the run was interrupted")
        over = self._fabric.advance(budget)
        if over:
            self._part.settle(self._fabric, self._interrupted)
        return over

    def report(self) -> str:
        """Return the fabric's report."""
        return self._fabric.report()

    def impair(self, changes: str) -> None:
        """Change links, now or later."""
        self._part.refuse_timed(json.loads(changes))
        self._fabric.impair(changes)


@dataclass
class _Lab:
    plan: Document
    dilation: int
    fabric: Fabric
    part: KernelPart
    links: LinkDesk | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    interrupted: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        """Stop the data plane and let go of the kernel's part."""
        self.fabric.close()
        self.part.close()


MakeFabric = Callable[[str, int, str], Fabric]
Execute = Callable[[Engine, Document, Document, Progress], Document]


class LabOwner:
    """Own labs. `make_fabric(plan, dilation, attachments)` opens a data plane; `execute` runs an experiment on one.

    What is brought up is written into the ledger, if there is one, for `adopt` of an owner to come.
    """

    def __init__(
        self, driver: LabDriver, make_fabric: MakeFabric, execute: Execute, ledger: Ledger | None = None
    ) -> None:
        self._driver = driver
        self._ledger = ledger
        self._make_fabric = make_fabric
        self._execute = execute
        self._labs: dict[str, _Lab] = {}
        self._building: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def perform(self, verb: str, body: BaseModel, progress: Progress) -> Document:
        """Do one verb. Raise a `TestbedError` that says what is wrong, in the user's words."""
        match body:
            case messages.DeployBody(plan=plan, dilation=dilation, topology=topology, native=native):
                return self.deploy(plan, dilation, topology, native)
            case messages.RunBody(lab=lab, spec=spec, pcap=pcap):
                return self.run(lab, spec, pcap, progress)
            case messages.LabBody(lab=lab):
                return self.destroy(lab) if verb == "destroy" else self.inspect(lab)
            case messages.PortBody(lab=lab, node=node, port=port):
                return self.capture_points(lab, node, port)
            case messages.ImpairBody(lab=lab):
                return self.impair(lab, body)
        # `ping` and `shutdown` have nothing to do here: to be answered is all they ask for.
        return {"labs": self.list()} if verb == "list" else {}

    def deploy(
        self, plan: Document, dilation: int, topology: Document | None = None, native: Sequence[int] = ()
    ) -> Document:
        """Bring a lab up. The same plan and dilation again change nothing; what a dead agent left is taken over.

        `topology` is the lab of the plan, without which its links cannot be changed later. Of the links in `native` the
        data plane imposes all.

        Raises `UsageError` when the lab is up with another plan or dilation, `DriverError` when a dead agent left another
        lab of this name. Undoes what it did when it fails.
        """
        lab = str(plan["lab"])
        described = None if topology is None else read_lab(topology, plan)
        with self._building_lock(lab):
            present = self._labs.get(lab)
            if present is not None:
                if present.plan == plan and present.dilation == dilation:
                    return {"lab": lab, "changed": False}
                raise UsageError(f"lab {lab} is deployed already, with another plan or dilation; destroy it first")
            stood_before = lab in self._driver.list_labs()
            built = emulation.with_native(plan, native)
            emulations = self._driver.emulations(built, dilation)
            attachments = self._driver.deploy(built, dilation)
            try:
                self._labs[lab] = self._start(plan, dilation, emulations, attachments, described)
                if self._ledger is not None:
                    asked = {"plan": plan, "dilation": dilation, "topology": topology, "native": list(native)}
                    self._ledger.write(lab, messages.DeployBody.model_validate(asked))
            except BaseException:
                if failed := self._labs.pop(lab, None):
                    failed.close()
                if not stood_before:
                    self._driver.destroy(lab)
                raise
            return {"lab": lab, "changed": True}

    def adopt(self) -> list[str]:
        """Take over the labs in the system that an agent before this one brought up; return their names.

        One that does not stand as it was asked for stays as it is: broken.
        """
        adopted: list[str] = []
        if self._ledger is None:
            return adopted
        for lab in self._driver.list_labs():
            asked = self._ledger.read(lab)
            if asked is None:
                continue
            try:
                self.deploy(asked.plan, asked.dilation, asked.topology, asked.native)
                adopted.append(lab)
            except TestbedError as error:
                _log.warning("lab %s cannot be taken over: %s", lab, error)
        return adopted

    def _start(
        self,
        plan: Document,
        dilation: int,
        emulations: Sequence[Emulation],
        attachments: Sequence[Mapping[str, Any]],
        described: Lab | None,
    ) -> _Lab:
        """Open the data plane of a lab that stands, for what the kernel does not do itself."""
        netem = any(link.mode == "netem" for link in emulations)
        part = KernelPart(plan, dilation, emulations, self._driver.counters(str(plan["lab"])) if netem else None)
        try:
            own = json.dumps(emulation.for_netem(plan, emulations))
            fabric = self._make_fabric(own, dilation, json.dumps(list(attachments)))
            present = _Lab(plan, dilation, fabric, part)
            if described is not None:
                present.links = LinkDesk(described, fabric, self._driver, part, emulations, dilation)
            return present
        except BaseException:
            part.close()
            raise

    def destroy(self, lab: str) -> Document:
        """Take a lab down, interrupting a run on it. A lab that is not there is down already."""
        present = self._labs.get(lab)
        if present is not None:
            present.interrupted.set()
        with self._building_lock(lab):
            present = self._labs.get(lab)
            if present is not None:
                present.interrupted.set()
                with present.lock:
                    del self._labs[lab]
                    present.close()
            changed = bool(self._driver.destroy(lab))
            if self._ledger is not None:
                self._ledger.forget(lab)
            return {"lab": lab, "changed": changed}

    def run(self, lab: str, spec: Document, pcap: str | None, progress: Progress) -> Document:
        """Run a trial on a lab that is up, one at a time on each lab; with `pcap`, capture every frame into that file."""
        present = self._running(lab)
        if not present.lock.acquire(blocking=False):
            raise UsageError(f"lab {lab} is busy with another run")
        try:
            return self._run(present, spec, pcap, progress)
        except OSError as error:
            raise HostError(f"run on lab {lab}: {error}") from error
        finally:
            present.lock.release()

    def _run(self, present: _Lab, spec: Document, pcap: str | None, progress: Progress) -> Document:
        engine = InterruptibleFabric(present.fabric, present.part, present.interrupted)
        if pcap is not None:
            present.fabric.capture(pcap)
        try:
            document = self._execute(engine, present.plan, spec, progress)
        finally:
            if pcap is not None:
                present.fabric.capture(None)
            # What the run's timeline did not come to must not happen to the lab later.
            present.fabric.cancel_impairments()
            if present.links is not None:
                present.links.settle()
        if "report" in document:
            document["report"] = present.part.complete(document["report"])
        return document

    def list(self) -> list[Document]:
        """List every lab of ours in the system.

        Its nodes, and whether it is running or broken (without a data plane).
        """
        rows = []
        for lab, nodes in sorted(self._driver.list_labs().items()):
            present = self._labs.get(lab)
            row: Document = {"lab": lab, "state": "running" if present else "broken", "nodes": sorted(nodes)}
            if present:
                row["driver"] = present.plan.get("driver", "netns")
                row["dilation"] = present.dilation
                row["busy"] = present.lock.locked()
                if faults := self._driver.faults(lab):
                    row |= {"state": "broken", "faults": faults}
            rows.append(row)
        return rows

    def inspect(self, lab: str) -> Document:
        """Describe one lab: state, nodes with addresses, who imposes its links, and the live counters of its ports."""
        row = next((row for row in self.list() if row["lab"] == lab), None)
        if row is None:
            raise UsageError(f"no lab {lab} is deployed on this machine")
        present = self._labs.get(lab)
        if present is None:
            return row
        row["stations"] = [
            {
                "node": present.plan["nodes"][station["node"]]["name"],
                **{key: station[key] for key in ("kind", "mac", "ip")},
            }
            for station in present.plan["stations"]
        ]
        row["links"] = present.part.listing()
        try:
            row["ports"] = json.loads(present.fabric.report())["ports"]
        except OSError as error:
            raise HostError(f"lab {lab}: {error}") from error
        return row

    def capture_points(self, lab: str, node: str, port: str) -> Document:
        """Say where to listen to a port: at both ends of its link, each for what arrives there.

        A frame that the data plane sends does not show at the end that it leaves by, only at the one where it arrives.
        """
        plan = self._running(lab).plan
        for link in plan["links"]:
            ends = [(plan["nodes"][n]["name"], plan["nodes"][n]["ports"][p]["name"]) for n, p in (link["a"], link["b"])]
            if (node, port) not in ends:
                continue
            if link["medium"] != "veth":
                raise UsageError(f"{node}:{port} is on a link of medium {link['medium']}: no interface to listen on")
            points = [{"netns": self._driver.namespace_path(lab, n), "interface": p} for n, p in ends]
            return {"points": points}
        raise UsageError(f"lab {lab} has no port {node}:{port} with a link")

    def impair(self, lab: str, body: messages.ImpairBody) -> Document:
        """Change or show the link at a port, during a run too. Returns {"directions": [one row each]}."""
        links = self._running(lab).links
        if links is None:
            raise UsageError(f"lab {lab} was deployed without its description; deploy it anew")
        ways = links.ways(f"{body.node}:{body.port}", body.direction)
        try:
            if body.action == "set":
                links.set(ways, read_impairment(body.settings))
            elif body.action == "reset":
                links.reset(ways)
            return {"directions": links.show(ways)}
        except OSError as error:
            raise HostError(f"lab {lab}: {error}") from error

    def counters(self) -> tuple[dict[tuple[str, str, str], Document], int]:
        """Read the counters of all ports of all labs, by (lab, node, port); and the bytes of the reports they are from."""
        found = {}
        size_bytes = 0
        for lab, present in list(self._labs.items()):
            try:
                text = present.fabric.report()
            except OSError:
                continue  # closed since the labs were listed
            size_bytes += len(text)
            for port, counters in json.loads(text)["ports"].items():
                node, _, name = port.partition(":")
                found[lab, node, name] = counters
        return found, size_bytes

    def has_labs(self) -> bool:
        """Tell whether any lab is up or being built."""
        return bool(self._labs) or any(lock.locked() for lock in list(self._building.values()))

    def interrupt_all(self) -> None:
        """Make every run end at its next step."""
        for present in list(self._labs.values()):
            present.interrupted.set()

    def close(self) -> None:
        """Stop all data planes; leave the namespaces. They are `broken` from now on."""
        self.interrupt_all()
        for lab, present in list(self._labs.items()):
            with present.lock:
                self._labs.pop(lab, None)
                present.close()

    def _running(self, lab: str) -> _Lab:
        if present := self._labs.get(lab):
            return present
        if lab in self._driver.list_labs():
            raise HostError(f"lab {lab} is broken: it has no data plane; destroy it, or deploy it again")
        raise UsageError(f"no lab {lab} is deployed on this machine")

    def _building_lock(self, lab: str) -> threading.Lock:
        with self._guard:
            return self._building.setdefault(lab, threading.Lock())
