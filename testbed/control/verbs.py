"""The verbs on labs in the system, without printing: each finds the agent, asks it, and cleans up when that fails.

Those that speak to an agent are coroutines. A cancelled one, as an interrupt makes of it, has cleaned up when it ends.

The local agent is started by the verbs that need an owner for a lab (`deploy`, `run`); the others do without when
there is none. Where the agent is lost, what it left in the system is dealt with through the driver directly.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from testbed.agent import captures, local
from testbed.agent.claims import Claims
from testbed.agent.ledger import Ledger, default_state_dir
from testbed.bus import messages, verbs
from testbed.bus.client import BusError
from testbed.bus.messages import Step
from testbed.control.agents import Agents
from testbed.control.interruption import Fate
from testbed.control.target import Target as Target
from testbed.control.targets import IMPATIENT_S, existing_agents, started
from testbed.drivers import emulation
from testbed.drivers.machine import MachineDriver
from testbed.errors import HostError, TestbedError, UsageError
from testbed.plan.difference import changes
from testbed.run.execution import Outcome
from testbed.run.trial import Trial

Document = dict[str, Any]
Follow = Callable[[Step], None]
"""Hears how far the building of a lab is, and then a run on it."""


def _deployment(trial: Trial, dilation: int) -> Document:
    spec = trial.spec()
    written = None if trial.written is None else {"lab": trial.written, "experiment": spec["experiment"]}
    body = {"plan": trial.plan, "dilation": dilation, "topology": spec["lab"], "written": written}
    return {**body, "native": emulation.timed(trial.changes)}


def _ignore(step: Step) -> None:
    """Follow nothing."""


def _steps(on_step: Follow) -> Callable[[Document], None]:
    """Return what receives progress as it comes off the bus, and hands on what it understands of it."""

    def receive(body: Document) -> None:
        if (step := messages.decode_step(body)) is not None:
            on_step(step)

    return receive


async def deploy(
    target: Target,
    trial: Trial,
    dilation: int,
    on_step: Follow = _ignore,
    fate: Fate | None = None,
    exclusive: bool = False,
) -> Document:
    """Bring a lab up and leave it up. Returns {"lab", "changed", "stood_before"}.

    Cancelled, it takes down a lab that did not stand before. With `exclusive` it raises UsageError for one that did.

    A lab that is up the same way is left alone; one that is up otherwise is changed in place, and the answer says how:
    "changes", as `difference.Change.data` has them, and what was "lost" for it: {"port" | None, "cause", "frames"}. `on_step`
    hears how far the building is, and `fate` says what stands of the lab.
    """
    lab, fate = trial.lab.name, fate or Fate()
    async with started(target) as agents:
        placed = await agents.enlist(trial, target.placement)
        body = {**_deployment(placed, dilation), "reconcile": not exclusive}
        stood = await _stands(agents, lab)
        taken = UsageError(
            f"lab {lab} is up already, and this program did not deploy it: choose another name, or destroy it"
        )
        if exclusive and stood:
            raise taken
        work = agents.deploy(lab, body, _steps(on_step))
        answer, _ = await fate.build(lab, work, stood, lambda: _destroy(target, agents, lab))
        if exclusive and not answer["changed"]:
            raise taken  # by somebody who came in between
        return {**answer, "stood_before": stood}


async def redeploy(
    target: Target, trial: Trial, dilation: int, on_step: Follow = _ignore, fate: Fate | None = None
) -> Document:
    """Take a lab down, if it is there, and bring it up anew. Returns {"lab", "changed"}. Otherwise as `deploy`."""
    lab, fate = trial.lab.name, fate or Fate()
    async with started(target) as agents:
        placed = await agents.enlist(trial, target.placement)
        async with fate.destroying(lab):
            await agents.ask(verbs.DESTROY, {"lab": lab}, lab=lab)
        work = agents.deploy(lab, _deployment(placed, dilation), _steps(on_step))
        answer, _ = await fate.build(lab, work, False, lambda: _destroy(target, agents, lab))
        return answer


async def plan_deploy(target: Target, trial: Trial, dilation: int | None = None) -> Document:
    """Return what `deploy` would do, and do nothing. Returns {"lab", "changed", "changes", "stands"}. Takes no privileges.

    `stands` says whether anything of the lab is there already. A lab that is up is taken to keep its dilation, unless one is
    given.
    """
    lab = trial.lab.name
    async with existing_agents(target) as agents:
        if agents is not None:
            placed = await agents.enlist(trial, target.placement)
            factor = dilation or await _dilation(agents, lab) or 1
            answer = await agents.ask_first(verbs.DEPLOY, {**_deployment(placed, factor), "dry_run": True}, lab=lab)
            return {"stands": True, **answer}
    rows = [change.data() for change in changes(None, trial.plan)]
    return {"lab": lab, "changed": True, "changes": rows, "stands": lab in MachineDriver().list_labs()}


async def run(
    target: Target,
    trial: Trial,
    dilation: int,
    *,
    keep: bool,
    pcap: Path | None,
    on_step: Follow = _ignore,
    fate: Fate | None = None,
    result: Path | None = None,
) -> Outcome:
    """Deploy a lab, run a trial on it, and destroy it again, whatever happens in between.

    A lab that was up before stays up; with `keep` one that was not does too. An interrupt (KeyboardInterrupt) ends the
    run and destroys the lab before it is raised again; a lab that was still being built goes even with `keep`. Every frame of
    the run is written to `pcap`. `result` is where the caller writes run.json: those who are told of the run are told of it.
    """
    lab, fate = trial.lab.name, fate or Fate()
    if pcap is not None:
        captures.require_writable(pcap)
    place = None if result is None else {"host": socket.gethostname(), "path": str(result.absolute())}
    async with started(target) as agents:
        placed = await agents.enlist(trial, target.placement)
        placed.check_agents()
        stood_before = await _stands(agents, lab)
        captured: list[str] = []

        def follow(step: Step) -> None:
            if isinstance(step, messages.CaptureStep):
                captured.append(step.capture)
            else:
                on_step(step)

        try:
            receive = _steps(follow)
            work = agents.deploy(lab, _deployment(placed, dilation), receive)
            _, deployed = await fate.build(lab, work, stood_before, lambda: _destroy(target, agents, lab))
            outcome = await agents.run(placed, deployed, pcap is not None, receive, place)
        finally:
            if not keep and not stood_before:
                async with fate.destroying(lab):
                    await _destroy(target, agents, lab)
            fault = _fetch(captured, pcap)
        outcome.capture_fault = outcome.capture_fault or fault
        return outcome


def _fetch(captured: Sequence[str], pcap: Path | None) -> str | None:
    """Fetch the file of a capture that the local agent has named; return why it stays there, if it does."""
    if pcap is None or not captured:
        return None
    try:
        captures.fetch(default_state_dir(), captured[0], pcap)
    except TestbedError as error:
        return str(error)
    return None


async def is_up(target: Target, lab: str) -> bool:
    """Return whether any of the agents has a lab of that name."""
    async with existing_agents(target) as agents:
        return agents is not None and await _stands(agents, lab)


async def dilation_of(target: Target, lab: str) -> int | None:
    """Return the dilation of a lab that is up; None if it is not."""
    async with existing_agents(target) as agents:
        return None if agents is None else await _dilation(agents, lab)


async def _dilation(agents: Agents, lab: str) -> int | None:
    answers = await agents.ask(verbs.LIST)
    rows = [row for answer in answers.values() for row in answer["labs"] if row["lab"] == lab]
    return next((int(row["dilation"]) for row in rows if "dilation" in row), None)


async def _stands(agents: Agents, lab: str) -> bool:
    answers = await agents.ask(verbs.LIST)
    return any(row["lab"] == lab for answer in answers.values() for row in answer["labs"])


async def destroy(target: Target, lab: str, fate: Fate | None = None) -> Document:
    """Take a lab down. Returns {"lab", "changed"}; a lab that is not there is down already. `fate` says what stands of it."""
    async with (fate or Fate()).destroying(lab):
        try:
            async with existing_agents(target) as agents:
                return await _destroy(target, agents, lab)
        except BusError:
            # It runs, yet cannot be talked to: its lab goes all the same.
            return await _destroy(target, None, lab)


async def _destroy(target: Target, agents: Agents | None, lab: str) -> Document:
    """Destroy through the agent, or without it when the labs are within reach of the driver."""
    if agents is not None:
        try:
            answers = await agents.ask(verbs.DESTROY, {"lab": lab}, lab=lab)
            return {"lab": lab, "changed": any(answer["changed"] for answer in answers.values())}
        except BusError:
            if not target.is_local:
                raise
    if not target.is_local:
        raise BusError(f"agent {target.agent} cannot be reached")
    with _unowned(lab):
        changed = bool(MachineDriver().destroy(lab))
    Ledger(default_state_dir()).forget(lab)
    return {"lab": lab, "changed": changed}


async def destroy_all(target: Target) -> list[Document]:
    """Take every lab down, and end the local agent; leave no namespace, link, process or state file of ours.

    A dead or hanging local agent is no obstacle: it is ended by its verified process id, and the system cleaned
    directly. Labs that another agent drives stay; HostError names them and their owners once all others are gone.
    """
    gone: dict[str, Document] = {}

    async def ask() -> None:
        async with existing_agents(target) as agents:
            if agents is None:
                return
            answers = await agents.ask(verbs.LIST, silence_s=IMPATIENT_S)
            rows = [row for answer in answers.values() for row in answer["labs"]]
            for lab in sorted({row["lab"] for row in rows if row["state"] != "foreign"}):
                await agents.ask(verbs.DESTROY, {"lab": lab}, lab=lab, silence_s=IMPATIENT_S)
                gone[lab] = {"lab": lab, "changed": True}
            if target.is_local:
                await agents.ask(verbs.SHUTDOWN, silence_s=IMPATIENT_S)

    try:
        await ask()
    except BusError:
        if not target.is_local:
            raise
    if target.is_local:
        local.stop(default_state_dir())
        gone |= {lab: {"lab": lab, "changed": True} for lab in _destroy_unowned()}
    return [gone[lab] for lab in sorted(gone)]


def _unowned(lab: str) -> AbstractContextManager[None]:
    """Claim a lab for this command. Raises HostError naming the agent that drives it, if one does."""
    return Claims("testbed destroy").held(lab)


def _destroy_unowned() -> list[str]:
    """Remove every lab from the system that no agent drives, and what was left of others; return their names."""
    driver, claims = MachineDriver(), Claims("testbed destroy")
    owners: dict[str, str] = {}
    try:
        for lab in driver.list_labs():
            if owner := claims.owner(lab):
                owners[lab] = owner
            else:
                claims.take(lab)
        if not owners:
            return list(driver.destroy_all())
        for lab in driver.list_labs().keys() - owners.keys():
            driver.destroy(lab)
    finally:
        claims.close()
    raise HostError("; ".join(f"lab {lab} stays: it is driven by {owner}" for lab, owner in owners.items()))


async def cancel(target: Target, lab: str) -> Document:
    """End the run on a lab, whoever asked for it; the lab stays. Returns {"lab", "changed"}: whether there was a run."""
    async with existing_agents(target) as agents:
        if agents is None:
            raise UsageError(f"no lab {lab} is running on this machine")
        answers = await agents.ask(verbs.CANCEL, {"lab": lab}, lab=lab)
        return {"lab": lab, "changed": any(answer["changed"] for answer in answers.values())}


async def impair(
    target: Target, lab: str, end: tuple[str, str], action: str, direction: str, settings: Document
) -> list[Document]:
    """Set, show or reset how the link at a port of a running lab is; return one row a direction: see `LinkDesk.show`."""
    async with existing_agents(target) as agents:
        if agents is None:
            raise UsageError(f"no lab {lab} is running on this machine")
        body = {"lab": lab, "node": end[0], "port": end[1], "action": action, "direction": direction}
        # Each agent answers for what its own nodes send.
        answers = await agents.ask(verbs.IMPAIR, {**body, "settings": settings}, lab=lab)
        return [row for answer in answers.values() for row in answer["directions"]]


def exec_in(lab: str, node: str, argv: Sequence[str]) -> int:
    """Run a program in a node of a lab on this machine, broken or not; return its exit status."""
    _require_node(lab, node)
    return MachineDriver().exec_in(lab, node, argv)


def exec_all(lab: str, argv: Sequence[str], write: Callable[[str, bytes], None]) -> dict[str, int]:
    """Run a program in every host of a lab that is on this machine; return exit statuses by host."""
    _require_lab(lab)
    return MachineDriver().exec_all(lab, argv, write)


def hosts_of(lab: str) -> list[str]:
    """Return the hosts of a lab on this machine, in the order of their ranks; those at other agents too."""
    _require_lab(lab)
    return list(MachineDriver().hosts(lab))


def _require_node(lab: str, node: str) -> None:
    nodes = _require_lab(lab)
    if node not in nodes:
        raise UsageError(f"lab {lab} has no node {node}; it has {', '.join(nodes)}")


def _require_lab(lab: str) -> list[str]:
    labs = MachineDriver().list_labs()
    if lab not in labs:
        raise UsageError(f"no lab {lab} is deployed on this machine")
    return labs[lab]


def run_in(lab: str, node: str, argv: Sequence[str], timeout_s: float | None) -> subprocess.CompletedProcess[str]:
    """Run a program in a node of a lab on this machine to its end, without input; return its status and what it said.

    Raises UsageError if there is no such node, subprocess.TimeoutExpired if it takes longer than `timeout_s`.
    """
    _require_node(lab, node)
    return MachineDriver().run_in(lab, node, argv, timeout_s)
