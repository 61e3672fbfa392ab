"""How the agents that a verb is for are reached: the local one is started where a verb needs an owner for a lab."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from testbed.agent import local
from testbed.agent.ledger import default_state_dir
from testbed.agent.local import AgentRecord
from testbed.bus import client, verbs
from testbed.bus.address import BrokerAddress
from testbed.bus.client import BusError
from testbed.control.agents import Agents
from testbed.control.target import Target
from testbed.system import namespaces

# An agent that is ending does so within a moment.
_ENDING_S = 5.0
_LOOK_S = 0.05
IMPATIENT_S = 5.0
"""An agent that does not answer for so long is not waited for when everything is to go."""


@asynccontextmanager
async def started(target: Target) -> AsyncIterator[Agents]:
    """Connect to the agents, starting the local one if it does not run, or ends just now because nobody needs it."""
    async with AsyncExitStack() as stack:
        if target.address is not None:
            yield await stack.enter_async_context(_connected(target.address, target))
            return
        namespaces.require_privileges("deploy")
        agents = None
        while agents is None:
            record = local.ensure(local.state_dir())
            try:
                reached = await stack.enter_async_context(_connected(record.address(), target))
                # Once it has heard of this command it waits for more.
                await reached.ask(verbs.PING)
                agents = reached
            except BusError:
                if not await _ends(record):
                    raise
        yield agents


async def _ends(agent: AgentRecord) -> bool:
    """Return whether a local agent that was lost ends within a moment."""
    directory = default_state_dir()
    deadline = time.monotonic() + _ENDING_S
    while local.find(directory) == agent:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


@asynccontextmanager
async def existing_agents(target: Target) -> AsyncIterator[Agents | None]:
    """Connect to the agents if there are any; yield None if the local one does not run."""
    address = target.address
    if address is None:
        record = local.find(default_state_dir())
        if record is None:
            yield None
            return
        address = record.address()
    async with AsyncExitStack() as stack:
        agents = None
        try:
            agents = await stack.enter_async_context(_connected(address, target))
        except BusError:
            # A local agent that was found while it was ending is none.
            if not target.is_local or local.find(default_state_dir()) is not None:
                raise
        yield agents


@asynccontextmanager
async def _connected(address: BrokerAddress, target: Target) -> AsyncIterator[Agents]:
    async with AsyncExitStack() as stack:
        names = (target.agent, *target.others)
        yield Agents({name: await stack.enter_async_context(client.connect(address, name)) for name in names})
