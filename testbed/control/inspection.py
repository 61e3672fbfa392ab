"""The verbs that look at labs, and change nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from testbed.agent import local
from testbed.agent.claims import Claims
from testbed.agent.lab import STATE_KEYS
from testbed.agent.ledger import default_state_dir
from testbed.bus import client, messages, verbs
from testbed.bus.client import BusError
from testbed.control.agents import one_lab
from testbed.control.ports import chosen_ports
from testbed.control.target import Target as Target
from testbed.control.targets import IMPATIENT_S, existing_agents
from testbed.drivers.machine import MachineDriver
from testbed.errors import UsageError
from testbed.health import Health, Wanted, lacking
from testbed.system import namespaces

Document = dict[str, Any]

MOST_POINTS = 512
"""Ends of links that one capture listens at: each takes a socket."""

# Between two looks at a lab that is waited for.
_LOOK_S = 0.25


async def inspect(target: Target, lab: str | None) -> list[Document]:
    """Describe one lab, or all of them. Raises UsageError when that lab is not deployed."""
    rows = [row for row in await _rows(target, lab) if lab in (None, row["lab"])]
    if lab is not None and not rows:
        raise UsageError(f"no lab {lab} is deployed")
    return rows


async def _rows(target: Target, lab: str | None) -> list[Document]:
    async with existing_agents(target) as agents:
        if agents is None:
            claims = Claims("testbed inspect")
            return [
                {"lab": name, "nodes": nodes, "state": "foreign" if (owner := claims.owner(name)) else "broken"}
                | ({"owner": owner} if owner else {})
                for name, nodes in MachineDriver().list_labs().items()
            ]
        having: dict[str, list[str]] = {}
        for agent, answer in (await agents.ask(verbs.LIST)).items():
            for row in answer["labs"]:
                having.setdefault(row["lab"], []).append(agent)
        chosen = {name: owners for name, owners in sorted(having.items()) if lab in (None, name)}
        return [
            one_lab(await agents.ask(verbs.INSPECT, {"lab": name}, lab=name, only=owners))
            for name, owners in chosen.items()
        ]


async def wait_for(target: Target, lab: str, nodes: Sequence[str], wanted: Wanted, limit_s: float) -> str | None:
    """Wait until a lab, or some nodes of it, are as wanted; return None, or after `limit_s` what they lack.

    A lab that is not there yet is waited for, and so is an agent.
    """
    deadline = time.monotonic() + limit_s
    while True:
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(limit_s, IMPATIENT_S)):
                lack = lacking(wanted, await _health(target, lab), nodes)
        except (BusError, TimeoutError) as error:
            lack = str(error) or "the agent does not answer"
        left_s = deadline - time.monotonic()
        if lack is None or left_s <= 0:
            return lack
        await asyncio.sleep(min(_LOOK_S, left_s))


async def _health(target: Target, lab: str) -> dict[str, Document]:
    async with existing_agents(target) as agents:
        if agents is None:
            listed = MachineDriver().list_labs().get(lab, [])
            owner = Claims("testbed wait-for").owner(lab)
            reason = f"its lab is driven by {owner}" if owner else "its lab has no agent"
            return dict.fromkeys(listed, Health("unhealthy", reason).data())
        answers = await agents.ask(verbs.HEALTH, {"lab": lab}, lab=lab)
        return {node: health for answer in answers.values() for node, health in answer["nodes"].items()}


async def describe(target: Target, lab: str) -> Document:
    """Return what a running lab was made of and what was done to it by hand: see `LabOwner.describe`."""
    async with existing_agents(target) as agents:
        if agents is None:
            raise UsageError(f"no lab {lab} is running on this machine")
        return await agents.ask_first(verbs.DESCRIBE, {"lab": lab}, lab=lab)


async def follow(target: Target, lab: str, ports: bool) -> AsyncGenerator[tuple[str, bytes], None]:
    """Yield what is told of a lab, topic and payload, for ever: events and state, and with `ports` their counters.

    Raises UsageError where the lab is to be on this machine and is not, BusError when the broker is lost.
    """
    address = target.address
    if address is None:
        record = local.find(default_state_dir())
        if record is None or lab not in MachineDriver().list_labs():
            raise UsageError(f"no lab {lab} is deployed on this machine")
        address = record.address()
        # Its broker retains nothing.
        for row in await _rows(target, lab):
            state = {key: row[key] for key in STATE_KEYS if key in row}
            yield messages.state_topic(lab), json.dumps(state).encode()
            for port, figures in row.get("ports", {}).items() if ports else ():
                yield messages.telemetry_topic(lab, *port.split(":")), json.dumps(figures).encode()
    topics = [messages.events_topic(lab), messages.state_topic(lab)]
    topics += [messages.telemetry_topic(lab, "+", "+")] if ports else []
    async for message in client.listen(address, topics):
        yield message


async def capture_points(lab: str, ports: Sequence[str]) -> tuple[list[Document], dict[str, list[bytes]]]:
    """Return where to listen to ports of a running lab on this machine, and the addresses of its hosts, MAC and IPv4.

    Ports are named, or by patterns (`leaf[1-4]:eth1`, `border-*:*`). Points are {"netns", "interface", "port"}, each once.
    Raises UsageError for a port that is not there, and for a pattern that fits none.
    """
    async with existing_agents(Target()) as agents:
        if agents is None:
            raise UsageError(f"no lab {lab} is running on this machine")
        row = await agents.ask_first(verbs.INSPECT, {"lab": lab}, lab=lab)
        known = [end for link in row.get("links", ()) for end in link["ends"]]
        points: dict[str, Document] = {}
        without: UsageError | None = None
        for end in chosen_ports(ports, known):
            if str(end) in points:
                continue
            body = {"lab": lab, "node": end.node, "port": end.port}
            try:
                answer = await agents.ask_first(verbs.CAPTURE_POINTS, body, lab=lab)
            except UsageError as error:
                # A pattern fits ports on links in memory too, which have no interface.
                if str(end) in ports:
                    raise
                without = error
                continue
            for point in answer["points"]:
                if Path(point["netns"]).parent != Path(namespaces.NAMESPACE_DIRECTORY):
                    raise BusError(f"the agent names {point['netns']}, which is not the namespace of a lab")
                points.setdefault(point["port"], point)
            if len(points) > MOST_POINTS:
                raise UsageError(f"more than {MOST_POINTS} ends of links to listen at; name fewer ports")
    if not points and without is not None:
        raise without
    hosts: dict[str, list[bytes]] = {}
    for station in row.get("stations", ()):
        mac, ip = bytes.fromhex(station["mac"].replace(":", "")), IPv4Address(station["ip"]).packed
        hosts.setdefault(station["node"], []).extend((mac, ip))
    return list(points.values()), hosts
