"""The agents that a verb is for, one or several, asked all at once over the bus.

A lab that several agents have is deployed by all or by none of them, and run by all together: each runs its part, their
data planes keep step by themselves, and what they report is put together here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testbed.bus import messages, verbs
from testbed.bus.client import SILENCE_S, BusError, Caller
from testbed.bus.verbs import Verb
from testbed.control.combine import combine
from testbed.errors import TestbedError, UsageError
from testbed.plan.placement import How, place
from testbed.run.execution import Outcome
from testbed.run.perform import outcome_from
from testbed.run.trial import Trial

Document = dict[str, Any]
Answers = dict[str, Document]

_KEY_BITS = 63
# An agent that runs says so every second.
_CANCEL_S = 5.0


class Agents:
    """One caller for each agent, in the order in which they were named."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._callers = dict(callers)

    async def ask(
        self,
        verb: Verb[Any],
        body: Document | None = None,
        *,
        lab: str = messages.NO_LAB,
        silence_s: float = SILENCE_S,
        only: Sequence[str] | None = None,
    ) -> Answers:
        """Ask all, or some, for the same; return their answers by agent. When some fail it raises once all have answered."""
        agents = self._callers if only is None else only
        return await self._gather({agent: body or {} for agent in agents}, verb, lab, silence_s)

    async def ask_first(self, verb: Verb[Any], body: Document, *, lab: str) -> Document:
        """Ask the first agent alone, for what all know."""
        return await next(iter(self._callers.values())).request(verb, body, lab=lab)

    async def enlist(self, trial: Trial, how: How) -> Trial:
        """Return a trial with who has which node, if there are several agents or the lab asks for any.

        Raises UsageError for an agent that does not say where the others reach it, or that the lab does not know.
        """
        if len(self._callers) == 1:
            (agent,) = self._callers
            for node in trial.lab.nodes:
                if node.agent not in (None, agent):
                    raise UsageError(f"node {node.name} is for agent {node.agent}: name all agents, --agent a,b")
            return trial
        answers = await self.ask(verbs.PING)
        machines = {agent: answer.get("underlay") for agent, answer in answers.items()}
        for agent, underlay in machines.items():
            if underlay is None:
                raise UsageError(f"agent {agent} cannot share a lab: start it with --underlay ADDRESS")
        known = {agent: str(underlay) for agent, underlay in machines.items()}
        return dataclasses.replace(trial, placement=place(trial.lab, known, how))

    async def deploy(
        self, lab: str, body: Document, on_progress: Callable[[Document], None] | None = None
    ) -> tuple[Document, Answers]:
        """Deploy a lab with all, or with none; return one answer for all, and each agent's own."""
        done, failed = await self._all(dict.fromkeys(self._callers, body), verbs.DEPLOY, lab, SILENCE_S, on_progress)
        if failed:
            # What was changed in place stays, for another try; what was built just now goes.
            built = {
                agent: {"lab": lab} for agent, answer in done.items() if answer["changed"] and "changes" not in answer
            }
            await self._gather(built, verbs.DESTROY, lab, SILENCE_S)
            raise failed[0]
        first = next(iter(done.values()))
        changed = any(answer["changed"] for answer in done.values())
        answer = {**first, "changed": changed}
        if any("changes" in each for each in done.values()):
            answer["changes"] = next(each["changes"] for each in done.values() if "changes" in each)
            answer["lost"] = [loss for each in done.values() for loss in each.get("lost", [])]
        return answer, done

    async def run(
        self,
        trial: Trial,
        deployed: Answers,
        capture: bool,
        on_progress: Callable[[Document], None],
        result: Document | None = None,
    ) -> Outcome:
        """Run a trial on the lab that `deployed` says is up; with `capture`, the agent names the file of it as a step.

        `result` is the host and path of run.json, for those who are told of the run.

        Who is cancelled meanwhile, or loses sight of an agent, has the run ended there before that is raised.
        """
        run_id = uuid.uuid4().hex
        body: Document = {"lab": trial.lab.name, "spec": trial.spec(), "capture": capture, "run_id": run_id}
        body |= {} if result is None else {"result": result}
        try:
            return await self._run(trial, deployed, body, on_progress)
        except (asyncio.CancelledError, BusError):
            await self._cancel(trial.lab.name, run_id)
            raise

    async def _cancel(self, lab: str, run_id: str) -> None:
        """End a run of ours, as far as its agents hear of it; what comes of that is of no interest any more."""
        with contextlib.suppress(TestbedError):
            await self.ask(verbs.CANCEL, {"lab": lab, "run_id": run_id}, lab=lab, silence_s=_CANCEL_S)

    async def _run(
        self, trial: Trial, deployed: Answers, body: Document, on_progress: Callable[[Document], None]
    ) -> Outcome:
        lab = trial.lab.name
        if trial.placement is None:
            (caller,) = self._callers.values()
            return outcome_from(await caller.request(verbs.RUN, body, lab=lab, on_progress=on_progress))
        party = _party(trial.placement.machines, deployed)
        bodies = {agent: {**body, "party": {**party, "number": number}} for number, agent in enumerate(self._callers)}
        answers = await self._gather(bodies, verbs.RUN, lab, SILENCE_S, on_progress)
        return combine(trial.plan, {agent: outcome_from(answer) for agent, answer in answers.items()})

    async def _gather(
        self,
        bodies: Mapping[str, Document],
        verb: Verb[Any],
        lab: str,
        silence_s: float,
        on_progress: Callable[[Document], None] | None = None,
    ) -> Answers:
        answers, failed = await self._all(bodies, verb, lab, silence_s, on_progress)
        if failed:
            raise failed[0]
        return answers

    async def _all(
        self,
        bodies: Mapping[str, Document],
        verb: Verb[Any],
        lab: str,
        silence_s: float,
        on_progress: Callable[[Document], None] | None,
    ) -> tuple[Answers, list[BaseException]]:
        """Ask each agent in `bodies` for its own; return the answers by agent, and the errors of the others."""
        requests = [
            self._callers[agent].request(verb, body, lab=lab, silence_s=silence_s, on_progress=on_progress)
            for agent, body in bodies.items()
        ]
        ends = await asyncio.gather(*requests, return_exceptions=True)
        answers = {agent: end for agent, end in zip(bodies, ends, strict=True) if not isinstance(end, BaseException)}
        return answers, [end for end in ends if isinstance(end, BaseException)]


def _party(machines: Mapping[str, str], deployed: Answers) -> Document:
    """Return who runs a lab together, and a key by which their data planes know each other in this run."""
    agents = [
        {"name": agent, "address": _socket_address(address, deployed[agent]["beats_port"])}
        for agent, address in machines.items()
    ]
    return {"key": secrets.randbits(_KEY_BITS), "agents": agents}


def _socket_address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ipaddress.ip_address(address).version == 6 else f"{address}:{port}"


def one_lab(rows: Mapping[str, Document]) -> Document:
    """Return what `inspect` says of a lab, out of what each of its agents says of its part."""
    if len(rows) == 1:
        ((agent, row),) = rows.items()
        return {**row, "agent": agent}
    parts = list(rows.values())
    running = all(part["state"] == "running" for part in parts)
    faults = {node: fault for part in parts for node, fault in part.get("faults", {}).items()}
    seen = {tuple(link["ends"]): link for part in parts for link in part.get("links", [])}
    merged = {
        **parts[0],
        "agent": ",".join(rows),
        "state": "running" if running else "broken",
        "nodes": sorted(node for part in parts for node in part["nodes"]),
        "placement": {node: agent for agent, part in rows.items() for node in part["nodes"]},
        "health": {node: health for part in parts for node, health in part.get("health", {}).items()},
        "stations": [station for part in parts for station in part.get("stations", [])],
        "links": list(seen.values()),
        "ports": {port: counters for part in parts for port, counters in part.get("ports", {}).items()},
    }
    return {**merged, "faults": faults} if faults else merged
