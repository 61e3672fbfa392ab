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
from collections import deque
from collections.abc import Callable

from testbed.agent import inspection, runs
from testbed.agent.captures import Captures
from testbed.agent.claims import Claims, NoClaims
from testbed.agent.data_plane import MakeFabric, lead_over, open_lab
from testbed.agent.lab import Document, InterruptibleFabric, LabDriver, Observation, OwnedLab, deviations
from testbed.agent.ledger import Ledger
from testbed.agent.link_desk import read_impairment, read_lab
from testbed.agent.runs import Execute, Progress
from testbed.bus import messages
from testbed.drivers import emulation
from testbed.errors import HostError, TestbedError, UsageError
from testbed.lab.topology import Lab
from testbed.plan.check import check_plan
from testbed.plan.difference import changes, keep_addresses
from testbed.plan.placement import is_here, part_of, require_underlay
from testbed.progress import BuildProgress

_log = logging.getLogger(__name__)


_REMEMBERED_CANCELS = 64
_CANCEL_S = 10.0
_BY_REQUEST = "cancelled"


class LabOwner:
    """Own labs. `make_fabric(plan, dilation, attachments)` opens a data plane; `execute` runs an experiment on one.

    What is brought up is written into the ledger, if there is one, for `adopt` of an owner to come. `agent` is whose labs
    they are, `underlay` the address at which other machines reach this one, for links that cross; `captures` has the files of
    captures. `check_fabric` raises UsageError for a plan that no data plane can be made of. `claims` keeps labs from having two
    owners: what another drives is neither changed nor destroyed.
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
        self._agent = agent
        self._claims = claims or NoClaims()
        self._cancelled: deque[str] = deque(maxlen=_REMEMBERED_CANCELS)
        self._check_fabric = check_fabric
        self._captures = captures
        self._underlay = underlay
        self._driver = driver
        self._ledger = ledger
        self._make_fabric = make_fabric
        self._execute = execute
        self._labs: dict[str, OwnedLab] = {}
        self._building: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def ping(self) -> Document:
        """Answer, and say at which address other machines reach this one, if they do."""
        return {} if self._underlay is None else {"underlay": self._underlay}

    def listed(self) -> Document:
        """Return {"labs": a row for each}: see `list`."""
        return {"labs": self.list()}

    def deploy(self, asked: messages.DeployBody, progress: Progress = lambda _: None) -> Document:
        """Bring a lab up. The same plan and dilation again change nothing; what a dead agent left is taken over.

        A lab that is up by another plan is changed in place with `reconcile`; the answer then lists the changes, as it does
        with `dry_run`, where nothing is done. Nodes that stay keep their addresses. What the system has otherwise than planned is
        mended; the answer then says in `mended` what that was, by node.

        Raises `UsageError` for a plan that a driver or a data plane would refuse, before anything is touched; when the lab is up
        with another plan and is not to be reconciled, with another dilation, or busy; `HostError` when another agent drives it;
        `DriverError` when a dead agent left another lab of this name. Undoes what it did when it fails, but a lab that was
        being changed is broken then.
        `progress` hears of `BuildStep`s.
        """
        steps = BuildProgress(
            lambda phase, done, total: progress(messages.BuildStep(phase=phase, done=done, total=total).model_dump())
        )
        lab = str(asked.plan["lab"])
        check_plan(asked.plan, asked.native)
        require_underlay(asked.plan, self._agent, self._underlay)
        described = None if asked.topology is None else read_lab(asked.topology, asked.plan)
        with self._building_lock(lab):
            present = self._labs.get(lab)
            if present is None or asked.plan != present.plan:
                self._check_fabric(json.dumps(asked.plan))
                if not asked.dry_run:
                    self._driver.require(part_of(asked.plan, self._agent))
            if present is None:
                return self._bring_up(lab, asked, described, steps)
            plan = asked.plan if asked.plan == present.plan else keep_addresses(present.plan, asked.plan)
            found = [change.data() for change in changes(present.plan, plan)]
            if present.dilation != asked.dilation:
                raise UsageError(
                    f"lab {lab} is deployed already, with another dilation ({present.dilation}); redeploy it to change that"
                )
            wrong = {} if present.lock.locked() else deviations(self._driver, present)
            mended = {"mended": wrong} if wrong else {}
            if asked.dry_run:
                changed = bool(found or wrong) or plan != present.plan
                return {"lab": lab, "changed": changed, "changes": found, **mended}
            if plan == present.plan and not wrong:
                return self._deployed(lab, changed=False)
            if plan != present.plan and not asked.reconcile:
                raise UsageError(f"lab {lab} is deployed already, with another plan; deploy or destroy it first")
            lost = self._change(lab, present, plan, asked, described, steps)
            return {**self._deployed(lab, changed=True), "changes": found, "lost": lost, **mended}

    def _deployed(self, lab: str, changed: bool) -> Document:
        port = self._labs[lab].beats_port
        return {"lab": lab, "changed": changed, **({} if port is None else {"beats_port": port})}

    def _bring_up(self, lab: str, asked: messages.DeployBody, described: Lab | None, steps: BuildProgress) -> Document:
        """Build a lab, or take over one that has no data plane, and open its data plane."""
        stood_before = lab in self._driver.list_labs()
        if asked.dry_run:
            found = [change.data() for change in changes(None, asked.plan)]
            return {"lab": lab, "changed": True, "changes": found, "stands": stood_before}
        plan = asked.plan
        self._claims.take(lab)
        try:
            if stood_before and asked.reconcile:
                known = self._ledger.read(lab) if self._ledger is not None else None
                plan = keep_addresses(known.plan, plan) if known else plan
                built = emulation.with_native(part_of(plan, self._agent), asked.native)
                before = part_of(known.plan, self._agent) if known else None
                self._driver.reconcile(built, before, asked.dilation, steps)
            self._labs[lab] = open_lab(
                self._driver, self._make_fabric, plan, asked.native, asked.dilation, described, steps, self._agent
            )
            self._labs[lab].written = asked.written
            self._write_down(lab, asked, plan)
        except BaseException:
            if failed := self._labs.pop(lab, None):
                failed.close()
            if not stood_before:
                self._driver.destroy(lab)
            self._claims.release(lab)
            raise
        return self._deployed(lab, changed=True)

    def _change(
        self,
        lab: str,
        present: OwnedLab,
        plan: Document,
        asked: messages.DeployBody,
        described: Lab | None,
        steps: BuildProgress,
    ) -> list[Document]:
        # What cannot be imposed here is said before anything is touched.
        self._driver.emulations(emulation.with_native(part_of(plan, self._agent), asked.native), present.dilation)
        if not present.lock.acquire(blocking=False):
            raise UsageError(f"lab {lab} is busy with a run; repeat when that is over, or destroy the lab")
        try:
            lost = lead_over(self._driver, present, plan, asked.native, described, steps)
            present.written = asked.written
            self._write_down(lab, asked, plan)
            return lost
        except BaseException:
            del self._labs[lab]
            present.close()
            self._claims.release(lab)
            raise
        finally:
            present.lock.release()

    def _write_down(self, lab: str, asked: messages.DeployBody, plan: Document) -> None:
        if self._ledger is not None:
            self._ledger.write(lab, asked.model_copy(update={"plan": plan, "reconcile": False}))

    def adopt(self) -> list[str]:
        """Take over the labs in the system that an agent before this one brought up; return their names.

        One that does not stand as it was asked for, as after a kill in the middle of a change, is made so again; what of it
        does stand is not touched. Where that fails it stays broken.
        """
        adopted: list[str] = []
        if self._ledger is None:
            return adopted
        for lab in self._driver.list_labs():
            asked = self._ledger.read(lab)
            if asked is None:
                continue
            try:
                self.deploy(asked.model_copy(update={"reconcile": True}))
                adopted.append(lab)
            except TestbedError as error:
                _log.warning("lab %s cannot be taken over: %s", lab, error)
        return adopted

    def destroy(self, lab: str) -> Document:
        """Take a lab down, interrupting a run on it. A lab that is not there is down already.

        Raises HostError for one that another agent drives.
        """
        present = self._labs.get(lab)
        if present is not None:
            present.interrupt()
        with self._building_lock(lab):
            self._claims.take(lab)
            try:
                present = self._labs.get(lab)
                if present is not None:
                    present.interrupt()
                    with present.lock:
                        del self._labs[lab]
                        present.close()
                changed = bool(self._driver.destroy(lab))
            finally:
                self._claims.release(lab)
            if self._ledger is not None:
                self._ledger.forget(lab)
            return {"lab": lab, "changed": changed}

    def run(self, asked: messages.RunBody, progress: Progress) -> Document:
        """Run a trial on a lab that is up, one at a time on each lab; its `capture` goes into a file named as a step.

        With a `party`, run what is here of it together with other agents. Raises HostError for a lab that is not as planned;
        one that ceases to be meanwhile is named in the report, and its run is not to be trusted.
        """
        present = self._running(asked.lab)
        if not present.lock.acquire(blocking=False):
            raise UsageError(f"lab {asked.lab} is busy with another run")
        run = present.begin_run(asked.run_id)
        try:
            if asked.run_id is not None and asked.run_id in self._cancelled:
                run.end(_BY_REQUEST)
            engine = InterruptibleFabric(present.fabric, present.part, run)
            return runs.perform(engine, self._driver, present, asked, self._execute, self._captures, progress)
        except OSError as error:
            raise HostError(f"run on lab {asked.lab}: {error}") from error
        finally:
            present.current = None
            present.lock.release()
            run.over.set()

    def cancel(self, asked: messages.CancelBody) -> Document:
        """End the run on a lab and wait until it has ended; the lab stays. "changed" tells whether there was one.

        A run of this id that begins later ends at once. Raises UsageError for a lab that is not there, if no id is named.
        """
        if asked.run_id is None:
            present: OwnedLab | None = self._running(asked.lab)
        else:
            self._cancelled.append(asked.run_id)
            present = self._labs.get(asked.lab)
        run = None if present is None else present.current
        if run is None or asked.run_id not in (None, run.run_id):
            return {"lab": asked.lab, "changed": False}
        run.end(_BY_REQUEST)
        if not run.over.wait(_CANCEL_S):
            raise HostError(
                f"the run on lab {asked.lab} goes on {_CANCEL_S:g} s after it was cancelled; destroy the lab"
            )
        return {"lab": asked.lab, "changed": True}

    def list(self) -> list[Document]:
        """List every lab of ours in the system.

        Its nodes, and whether it is running, broken (without a data plane), or foreign, driven by another `owner`.
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
            elif owner := self._claims.owner(lab):
                row |= {"state": "foreign", "owner": owner}
            rows.append(row)
        return rows

    def inspect(self, lab: str) -> Document:
        """Describe one lab: state, nodes with addresses, who imposes its links, what was changed by hand, live figures."""
        row = next((row for row in self.list() if row["lab"] == lab), None)
        if row is None:
            raise UsageError(f"no lab {lab} is deployed on this machine")
        row["health"] = self.health(lab)["nodes"]
        present = self._labs.get(lab)
        if present is None:
            return row
        if wrong := deviations(self._driver, present):
            row |= {"state": "broken", "faults": wrong}
        return inspection.describe_running(row, present, self._agent)

    def describe(self, lab: str) -> Document:
        """Say what a running lab was made of: as it was written and as it was understood, and what was changed by hand."""
        present = self._running(lab)
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
        """Say how each node of a lab is: {"lab", "nodes": {name: {"state", "reason"}}}; no nodes if there is no such lab.

        Without its data plane no node of a lab is healthy, however it is itself; nor is one that is not as planned.
        """
        reason = f"its lab is driven by {owner}" if (owner := self._claims.owner(lab)) else "its lab has no data plane"
        found = inspection.health(self._driver, lab, self._labs.get(lab), reason)
        return {"lab": lab, "nodes": {node: health.data() for node, health in sorted(found.items())}}

    def capture_points(self, lab: str, node: str, port: str) -> Document:
        """Say where to listen to a port: see `inspection.capture_points`."""
        return {"points": inspection.capture_points(self._driver, self._running(lab).plan, self._agent, (node, port))}

    def impair(self, lab: str, body: messages.ImpairBody) -> Document:
        """Change or show the link at a port, during a run too. Returns {"directions": [one row each]}."""
        # Not while the lab is being changed: its links are others then, and so are their numbers.
        with self._building_lock(lab):
            present = self._running(lab)
            links = present.links
            if links is None:
                raise UsageError(f"lab {lab} was deployed without its description; deploy it anew")
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
        return inspection.observe(dict(self._labs))

    def has_labs(self) -> bool:
        """Tell whether any lab is up or being built."""
        return bool(self._labs) or any(lock.locked() for lock in list(self._building.values()))

    def interrupt_all(self) -> None:
        """Make every run end at its next step."""
        for present in list(self._labs.values()):
            present.interrupt()

    def close(self) -> None:
        """Stop all data planes; leave the namespaces. They are `broken` from now on, and anybody's."""
        self.interrupt_all()
        for lab, present in list(self._labs.items()):
            with present.lock:
                self._labs.pop(lab, None)
                present.close()
            self._claims.release(lab)

    def _running(self, lab: str) -> OwnedLab:
        if present := self._labs.get(lab):
            return present
        if lab in self._driver.list_labs():
            if owner := self._claims.owner(lab):
                raise HostError(f"lab {lab} is driven by {owner}; ask that one")
            raise HostError(f"lab {lab} is broken: it has no data plane; destroy it, or deploy it again")
        raise UsageError(f"no lab {lab} is deployed on this machine")

    def _building_lock(self, lab: str) -> threading.Lock:
        with self._guard:
            return self._building.setdefault(lab, threading.Lock())
