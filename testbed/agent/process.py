"""What an agent is made of in a process of its own: the driver of this machine, the real-clock data plane, the bus."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from testbed.agent import announcement, local, privileges
from testbed.agent.captures import Captures
from testbed.agent.claims import Claims
from testbed.agent.lab import Document, InterruptibleFabric
from testbed.agent.ledger import Ledger
from testbed.agent.metrics import read_address, served
from testbed.agent.owner import LabOwner
from testbed.agent.runs import Executed, Progress
from testbed.agent.service import Agent
from testbed.agent.telemetry import PERIOD_S
from testbed.bus import messages
from testbed.bus.address import LOCAL_AGENT, BrokerAddress, written
from testbed.bus.embedded import embedded_broker
from testbed.contract.plan import Plan
from testbed.drivers.machine import MachineDriver
from testbed.errors import ExperimentError, HostError, UsageError
from testbed.plan.difference import keep_addresses
from testbed.progress import Pace
from testbed.run.execution import Progress as Where
from testbed.run.perform import outcome_data, outcome_from, perform
from testbed.run.trial import from_spec
from testbed.system import bounded_log

if TYPE_CHECKING:
    from testbed._dataplane import RealFabric

# Three seconds after its machine vanished an agent is known to be offline.
_KEEPALIVE_S = 2


def serve_local(directory: Path) -> None:
    """Be the local agent of a state directory: broker inside, found by `agent.json`, ending by itself when not needed.

    Raises UsageError when one runs already.
    """
    handed_over = local.inherited()
    if handed_over is None and local.find(directory) is not None:
        raise UsageError(f"a local agent runs already: {directory}")
    wanted = os.environ.pop(local.METRICS_VARIABLE, None)
    metrics = read_address(wanted) if wanted else None
    idle_exit_s = float(os.environ.get(local.IDLE_VARIABLE, local.IDLE_EXIT_S))
    _log_to_stderr(local.log_path(directory))
    privileges.lay_down()

    async def work() -> None:
        owner = make_owner(directory)
        async with embedded_broker(local.socket_path(directory)) as broker, served(metrics, owner.observe) as where:
            if where is not None:
                print(f"metrics of the labs of this machine: {where}", flush=True)

            def ready() -> None:
                nonlocal handed_over
                local.publish(directory, broker.address)
                if handed_over is not None:
                    local.ready(*handed_over)
                    handed_over = None

            agent = Agent(LOCAL_AGENT, owner, idle_exit_s, broadcast=broker.broadcast)
            try:
                # The broker is in this process: a lost session is a hiccup of a loaded machine, and no reason to drop labs.
                await agent.serve(broker.address, ready, reconnect=True)
            finally:
                local.withdraw(directory)

    asyncio.run(work())


def become_local(metrics: tuple[str, int]) -> NoReturn:
    """Become the local agent of this user, in the foreground and for good, with its metrics served at an address.

    Raises UsageError when one runs already.
    """
    directory = local.state_dir()
    if local.find(directory) is not None:
        raise UsageError(
            "a local agent runs already, without metrics; destroy its labs and it ends by itself, then start this one first"
        )
    os.environ |= local.environment(directory, math.inf) | {local.METRICS_VARIABLE: written(*metrics)}
    command = local.command_line(directory)
    os.execv(command[0], command)


def serve_broker(
    address: BrokerAddress,
    name: str,
    underlay: str | None = None,
    metrics: tuple[str, int] | None = None,
    period_s: float = PERIOD_S,
) -> None:
    """Be an agent on somebody else's broker until told to stop; a lost broker is waited for.

    `underlay` is the address at which the machines of other agents reach this one, `metrics` where its own are served; labs are
    looked at every `period_s` at most.
    """
    _log_to_stderr()
    privileges.lay_down()

    async def work() -> None:
        owner = make_owner(local.state_dir(), name, underlay)
        agent = Agent(name, owner, keepalive_s=_KEEPALIVE_S, retain=True, period_s=period_s)
        async with served(metrics, owner.observe) as where:
            at = f", metrics at {where}" if where else ""
            await agent.serve(address, lambda: print(f"agent {name} is ready on {address}{at}", flush=True), True)

    asyncio.run(work())


def make_owner(state: Path | None = None, agent: str = "", underlay: str | None = None) -> LabOwner:
    """Make the owner of this machine's labs, those included that an agent of the same state directory left."""
    ledger = Ledger(state) if state else None
    captures = Captures(state) if state else None
    run = partial(_execute, agent)
    claims = Claims(f"agent {agent or LOCAL_AGENT}")
    owner = LabOwner(MachineDriver(), _open_fabric, run, ledger, agent, underlay, captures, check_fabric, claims)
    if adopted := owner.adopt():
        logging.info("taken over: %s", ", ".join(adopted))
    return owner


def check_fabric(plan: str) -> None:
    """Raise UsageError for a plan that no data plane can be made of: one is made, of all its links, without interfaces."""
    from testbed._dataplane import VirtualFabric

    try:
        VirtualFabric(plan)
    except ValueError as error:
        raise UsageError(f"plan: {error}") from None


def _open_fabric(plan: str, dilation: int, attachments: str) -> RealFabric:
    """Start the data plane of a lab. Raises HostError where the system refuses."""
    from testbed._dataplane import RealFabric

    try:
        return RealFabric(plan, dilation, attachments)
    except OSError as error:
        raise HostError(f"start the data plane: {error}") from error


def _execute(agent: str, engine: InterruptibleFabric, plan: Plan, spec: Document, progress: Progress) -> Executed:
    """Run a trial that came over the bus, and say what it is, a few times a second where it is, and how it ended."""
    trial = from_spec(spec)
    if keep_addresses(plan, json.loads(json.dumps(trial.plan))) != plan:
        raise UsageError(f"lab {trial.lab.name} is deployed with another plan; destroy it first")
    if faults := trial.memory_faults(agent):
        raise ExperimentError(faults)
    pace = Pace()

    def publish(where: Where) -> None:
        if pace.is_due():
            progress(messages.RunStep.model_validate(where).model_dump())

    progress(announcement.started(trial, spec["experiment"], engine.dilation))
    outcome = perform(trial, engine, "real", publish, agent, meter=announcement.LabMeter(engine, plan))

    def ended(document: Document) -> Document:
        return announcement.ended(trial, outcome_from(document), engine.dilation)

    return Executed(outcome_data(outcome), ended)


def _log_to_stderr(file: Path | None = None) -> None:
    """Log to standard error; where that is `file`, keep it within bounds."""
    handler = logging.StreamHandler(sys.stderr) if file is None else bounded_log.Handler(file)
    logging.basicConfig(
        handlers=[handler], level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
