"""What an agent owns and does: labs in the system, one data plane for each, and the verbs on them.

Knows nothing of MQTT.

Verbs are called from many threads at once. Each lab has a lock that serialises what happens to it; `destroy` does not
wait for a run to end by itself but interrupts it first. Every verb may be repeated and may be cut off at any moment:
the truth about what exists is in the system, and this object only adds who is alive.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable

from testbed.agent import inspection, runs
from testbed.agent.captures import Captures
from testbed.agent.claims import Claims
from testbed.agent.data_plane import MakeFabric
from testbed.agent.deployment import Deployment
from testbed.agent.lab import Document, InterruptibleFabric, LabDriver, Observation, OwnedLab, deviations
from testbed.agent.ledger import Ledger
from testbed.agent.link_desk import read_impairment
from testbed.agent.register import Register
from testbed.agent.runs import Execute, Progress
from testbed.bus import messages, told
from testbed.errors import HostError, UsageError
from testbed.plan.placement import is_here

_log = logging.getLogger(__name__)

_REMEMBERED_CANCELS = 64
_CANCEL_S = 10.0
_BY_REQUEST = "cancelled"


class LabOwner:
    """Own labs. `make_fabric(plan, dilation, attachments)` opens a data plane; `execute` runs an experiment on one.

    What is brought up is written into the ledger, if there is one, for `adopt` of an owner to come. `agent` is whose labs
    they are, `underlay` the address at which other machines reach this one, for links that cross; `captures` has the files of
    captures. `check_fabric` raises UsageError for a plan that no data plane can be made of. `claims` keeps labs from having two
    owners: what another drives is neither changed nor destroyed. `tell(lab, event)` hears what happens to runs, from their
    threads, as it happens.
    """

    def __init__(
        self,
        driver: LabDriver,
        make_fabric: MakeFabric,
        execute: Execute,
        ledger: Ledger | None = None,
        agent: str = "",
        underlay: str | None = None,
        captures: Captures | None = None,
        check_fabric: Callable[[str], None] = lambda _: None,
        claims: Claims | None = None,
    ) -> None:
        self.tell: Callable[[str, Document], None] = lambda lab, event: None
        self._agent = agent
        self._underlay = underlay
        self._driver = driver
        self._execute = execute
        self._captures = captures
        self._cancelled: deque[str] = deque(maxlen=_REMEMBERED_CANCELS)
        self._register = Register(driver, claims)
        self._deployment = Deployment(self._register, make_fabric, ledger, agent, underlay, check_fabric)

    def ping(self) -> Document:
        """Answer, and say at which address other machines reach this one, if they do."""
        return {} if self._underlay is None else {"underlay": self._underlay}

    def listed(self) -> Document:
        """Return {"labs": a row for each}: see `list`."""
        return {"labs": self.list()}

    def deploy(self, body: messages.DeployBody, progress: Progress = lambda _: None) -> Document:
        """Bring a lab up, or change one that is: see `Deployment.deploy`."""
        return self._deployment.deploy(body, progress)

    def adopt(self) -> list[str]:
        """Take over the labs in the system that an agent before this one brought up; return their names."""
        return self._deployment.adopt()

    def destroy(self, lab: str) -> Document:
        """Take a lab down, interrupting a run on it. A lab that is not there is down already.

        Raises HostError for one that another agent drives.
        """
        return self._deployment.destroy(lab)

    def run(self, body: messages.RunBody, progress: Progress) -> Document:
        """Run a trial on a lab that is up, one at a time on each lab; its `capture` goes into a file named as a step.

        With a `party`, run what is here of it together with other agents. Raises HostError for a lab that is not as planned;
        one that ceases to be meanwhile is named in the report, and its run is not to be trusted.
        """
        present = self._register.running(body.lab)
        if not present.lock.acquire(blocking=False):
            raise UsageError(f"lab {body.lab} is busy with another run")
        run_id = body.run_id or uuid.uuid4().hex
        run = present.begin_run(run_id)
        story = present.story

        def tell(event: Document) -> None:
            self.tell(body.lab, event)

        def hear(step: Document) -> None:
            if step.get("event") == told.RUN_STARTED:
                story.begin(step, run_id, tell)
            elif step.get("event") == told.RUN_ENDED:
                story.end(step, None if body.result is None else body.result.model_dump(), tell)
            else:
                progress(step)
                story.go_on(step, tell)

        try:
            if body.run_id is not None and body.run_id in self._cancelled:
                run.end(_BY_REQUEST)
            engine = InterruptibleFabric(present.fabric, present.part, run, present.dilation)
            return runs.perform(engine, self._driver, present, body, self._execute, self._captures, hear)
        except OSError as error:
            raise HostError(f"run on lab {body.lab}: {error}") from error
        finally:
            story.give_up()
            present.current = None
            present.lock.release()
            run.over.set()
            if run.ending.is_set():
                _log.info("the run on lab %s has ended before its time", body.lab)

    def cancel(self, body: messages.CancelBody) -> Document:
        """End the run on a lab and wait until it has ended; the lab stays. "changed" tells whether there was one.

        A run of this id that begins later ends at once. Raises UsageError for a lab that is not there, if no id is named.
        """
        if body.run_id is None:
            present: OwnedLab | None = self._register.running(body.lab)
        else:
            self._cancelled.append(body.run_id)
            present = self._register.labs.get(body.lab)
        run = None if present is None else present.current
        if run is None or body.run_id not in (None, run.run_id):
            return {"lab": body.lab, "changed": False}
        run.end(_BY_REQUEST)
        if not run.over.wait(_CANCEL_S):
            raise HostError(
                f"the run on lab {body.lab} goes on {_CANCEL_S:g} s after it was cancelled; destroy the lab"
            )
        return {"lab": body.lab, "changed": True}

    def list(self) -> list[Document]:
        """List every lab of ours in the system.

        Its nodes, and whether it is running, broken (without a data plane), or foreign, driven by another `owner`.
        """
        rows = []
        for lab, nodes in sorted(self._driver.list_labs().items()):
            present = self._register.labs.get(lab)
            row: Document = {"lab": lab, "state": "running" if present else "broken", "nodes": sorted(nodes)}
            if present:
                row["driver"] = present.plan.get("driver", "netns")
                row["dilation"] = present.dilation
                row["busy"] = present.lock.locked()
                if faults := self._driver.faults(lab):
                    row |= {"state": "broken", "faults": faults}
            elif owner := self._register.claims.owner(lab):
                row |= {"state": "foreign", "owner": owner}
            rows.append(row)
        return rows

    def inspect(self, lab: str) -> Document:
        """Describe one lab: state, nodes with addresses, who imposes its links, what was changed by hand, live figures."""
        row = next((row for row in self.list() if row["lab"] == lab), None)
        if row is None:
            raise UsageError(f"no lab {lab} is deployed on this machine")
        row["health"] = self.health(lab)["nodes"]
        present = self._register.labs.get(lab)
        if present is None:
            return row
        if wrong := deviations(self._driver, present):
            row |= {"state": "broken", "faults": wrong}
        return inspection.describe_running(row, present, self._agent)

    def describe(self, lab: str) -> Document:
        """Return what a running lab was made of: as it was written and as it was understood, and what was changed by hand."""
        present = self._register.running(lab)
        topology = None if present.links is None else present.links.lab.model_dump(mode="json", by_alias=True)
        by_hand = [] if present.links is None else present.links.by_hand()
        return {
            "lab": lab,
            "dilation": present.dilation,
            "written": present.written,
            "topology": topology,
            "by_hand": by_hand,
        }

    def health(self, lab: str) -> Document:
        """Return how each node of a lab is: {"lab", "nodes": {name: {"state", "reason"}}}; no nodes if there is no such lab.

        Without its data plane no node of a lab is healthy, however it is itself; nor is one that is not as planned.
        """
        reason = (
            f"its lab is driven by {owner}"
            if (owner := self._register.claims.owner(lab))
            else "its lab has no data plane"
        )
        state = inspection.health(self._driver, lab, self._register.labs.get(lab), reason)
        return {"lab": lab, "nodes": {node: health.data() for node, health in sorted(state.items())}}

    def capture_points(self, lab: str, node: str, port: str) -> Document:
        """Return where to listen to a port: see `inspection.capture_points`."""
        return {
            "points": inspection.capture_points(
                self._driver, self._register.running(lab).plan, self._agent, (node, port)
            )
        }

    def impair(self, lab: str, body: messages.ImpairBody) -> Document:
        """Change or show the link at a port, during a run too. Returns {"directions": [one row each]}."""
        # Not while the lab is being changed: its links are others then, and so are their numbers.
        with self._register.building(lab):
            present = self._register.running(lab)
            links = present.links
            if links is None:
                raise UsageError(f"lab {lab} was deployed without its description; redeploy it")
            ways = links.ways(f"{body.node}:{body.port}", body.direction)
            try:
                if body.action == "set":
                    links.set(ways, read_impairment(body.settings))
                elif body.action == "reset":
                    links.reset(ways)
                rows = links.show(ways)
            except OSError as error:
                raise HostError(f"lab {lab}: {error}") from error
            # Of a link that crosses each agent answers for what its own node sends.
            here = [row for row in rows if is_here(present.plan, self._agent, row["from"].partition(":")[0])]
            return {"directions": here}

    def observe(self) -> Observation:
        """Look at all labs with a data plane: their ports, and each as a whole."""
        return inspection.observe(dict(self._register.labs))

    def has_labs(self) -> bool:
        """Return whether any lab is up or being built."""
        return not self._register.is_empty()

    def interrupt_all(self) -> None:
        """Make every run end at its next step."""
        self._register.interrupt_all()

    def close(self) -> None:
        """Stop all data planes; leave the namespaces. They are `broken` from now on, and anybody's."""
        self._register.close()
