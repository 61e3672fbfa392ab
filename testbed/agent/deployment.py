"""Labs brought up, changed in place, taken over and taken down by an agent, each with its data plane."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from testbed.agent.confinement import require_allowed
from testbed.agent.data_plane import MakeFabric, lead_over, open_lab
from testbed.agent.lab import Document, OwnedLab, deviations
from testbed.agent.ledger import Ledger
from testbed.agent.link_desk import read_lab
from testbed.agent.register import Register
from testbed.agent.runs import Progress
from testbed.bus import messages
from testbed.contract.plan import Plan
from testbed.contract.report import Loss
from testbed.drivers import emulation
from testbed.errors import TestbedError, UsageError
from testbed.lab.topology import Lab
from testbed.plan.check import check_plan
from testbed.plan.difference import changes, keep_addresses
from testbed.plan.placement import part_of, require_underlay
from testbed.progress import BuildProgress

_log = logging.getLogger(__name__)


class Deployment:
    """Make what stands in the system and in a register what was asked for. Every call may be repeated and cut off anywhere."""

    def __init__(
        self,
        register: Register,
        make_fabric: MakeFabric,
        ledger: Ledger | None,
        agent: str,
        underlay: str | None,
        check_fabric: Callable[[str], None],
    ) -> None:
        self._register = register
        self._driver = register.driver
        self._claims = register.claims
        self._make_fabric = make_fabric
        self._ledger = ledger
        self._agent = agent
        self._underlay = underlay
        self._check_fabric = check_fabric

    def deploy(self, body: messages.DeployBody, progress: Progress = lambda _: None) -> Document:
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
        wanted = check_plan(body.plan, body.native)
        lab = wanted["lab"]
        if self._agent:
            require_allowed(part_of(wanted, self._agent), self._agent)
        require_underlay(wanted, self._agent, self._underlay)
        described = None if body.topology is None else read_lab(body.topology, wanted)
        with self._register.building(lab):
            present = self._register.labs.get(lab)
            if present is None or wanted != present.plan:
                self._check_fabric(json.dumps(wanted))
                if not body.dry_run:
                    self._driver.require(part_of(wanted, self._agent))
            if present is None:
                return self._bring_up(wanted, body, described, steps)
            plan = wanted if wanted == present.plan else keep_addresses(present.plan, wanted)
            differences = [change.data() for change in changes(present.plan, plan)]
            if present.dilation != body.dilation:
                raise UsageError(
                    f"lab {lab} is deployed already, with another dilation ({present.dilation}); redeploy it to change that"
                )
            wrong = {} if present.lock.locked() else deviations(self._driver, present)
            mended = {"mended": wrong} if wrong else {}
            if body.dry_run:
                changed = bool(differences or wrong) or plan != present.plan
                return {"lab": lab, "changed": changed, "changes": differences, **mended}
            if plan == present.plan and not wrong:
                return self._deployed(lab, changed=False)
            if plan != present.plan and not body.reconcile:
                raise UsageError(f"lab {lab} is deployed already, with another plan; deploy or destroy it first")
            lost = self._change(lab, present, plan, body, described, steps)
            return {**self._deployed(lab, changed=True), "changes": differences, "lost": lost, **mended}

    def _deployed(self, lab: str, changed: bool) -> Document:
        port = self._register.labs[lab].beats_port
        return {"lab": lab, "changed": changed, **({} if port is None else {"beats_port": port})}

    def _bring_up(
        self, wanted: Plan, body: messages.DeployBody, described: Lab | None, steps: BuildProgress
    ) -> Document:
        """Build a lab, or take over one that has no data plane, and open its data plane."""
        lab, plan = wanted["lab"], wanted
        stood_before = lab in self._driver.list_labs()
        if body.dry_run:
            changed = [change.data() for change in changes(None, wanted)]
            return {"lab": lab, "changed": True, "changes": changed, "stands": stood_before}
        self._claims.take(lab)
        try:
            if stood_before and body.reconcile:
                known = self._known(lab)
                plan = keep_addresses(known, plan) if known else plan
                built = emulation.with_native(part_of(plan, self._agent), body.native)
                before = part_of(known, self._agent) if known else None
                self._driver.reconcile(built, before, body.dilation, steps)
            self._register.labs[lab] = open_lab(
                self._driver, self._make_fabric, plan, body.native, body.dilation, described, steps, self._agent
            )
            self._register.labs[lab].written = body.written
            self._write_down(lab, body, plan)
        except BaseException:
            if failed := self._register.labs.pop(lab, None):
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
        plan: Plan,
        body: messages.DeployBody,
        described: Lab | None,
        steps: BuildProgress,
    ) -> list[Loss]:
        # What cannot be imposed here is said before anything is touched.
        self._driver.emulations(emulation.with_native(part_of(plan, self._agent), body.native), present.dilation)
        if not present.lock.acquire(blocking=False):
            raise UsageError(f"lab {lab} is busy with a run; repeat when that is over, or destroy the lab")
        try:
            lost = lead_over(self._driver, present, plan, body.native, described, steps)
            present.written = body.written
            self._write_down(lab, body, plan)
            return lost
        except BaseException:
            del self._register.labs[lab]
            present.close()
            self._claims.release(lab)
            raise
        finally:
            present.lock.release()

    def _known(self, lab: str) -> Plan | None:
        """Return the plan by which a lab was brought up; None where that is not known."""
        recorded = self._ledger.read(lab) if self._ledger is not None else None
        try:
            return None if recorded is None else check_plan(recorded.plan)
        except UsageError:
            return None  # a damaged record is as good as none

    def _write_down(self, lab: str, body: messages.DeployBody, plan: Plan) -> None:
        if self._ledger is not None:
            self._ledger.write(lab, body.model_copy(update={"plan": plan, "reconcile": False}))

    def adopt(self) -> list[str]:
        """Take over the labs in the system that an agent before this one brought up; return their names.

        One that does not stand as it was asked for, as after a kill in the middle of a change, is made so again; what of it
        does stand is not touched. Where that fails it stays broken.
        """
        adopted: list[str] = []
        if self._ledger is None:
            return adopted
        for lab in self._driver.list_labs():
            recorded = self._ledger.read(lab)
            if recorded is None:
                continue
            try:
                self.deploy(recorded.model_copy(update={"reconcile": True}))
                adopted.append(lab)
            except TestbedError as error:
                _log.warning("lab %s cannot be taken over: %s", lab, error)
        return adopted

    def destroy(self, lab: str) -> Document:
        """Take a lab down, interrupting a run on it. A lab that is not there is down already.

        Raises HostError for one that another agent drives.
        """
        present = self._register.labs.get(lab)
        if present is not None:
            present.interrupt()
        with self._register.building(lab):
            self._claims.take(lab)
            try:
                present = self._register.labs.get(lab)
                if present is not None:
                    present.interrupt()
                    with present.lock:
                        del self._register.labs[lab]
                        present.close()
                changed = bool(self._driver.destroy(lab))
            finally:
                self._claims.release(lab)
            if self._ledger is not None:
                self._ledger.forget(lab)
            return {"lab": lab, "changed": changed}
