"""testbed agent: the process that owns labs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.errors import UsageError
from testbed.plan.placement import check_underlay


def agent(
    context: typer.Context,
    broker: Annotated[str | None, typer.Option(help="mqtts://host[:port], or mqtt:// on this machine")] = None,
    name: Annotated[str, typer.Option(help="name of this agent on the broker")] = "agent",
    credentials: Annotated[Path | None, typer.Option(help="file with user:password, mode 0600")] = None,
    ca_file: Annotated[Path | None, typer.Option("--ca", help="certificate authorities of the broker, PEM")] = None,
    underlay: Annotated[
        str | None,
        typer.Option(help="address at which the machines of other agents reach this one, for labs of several"),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="serve counters of labs as OpenMetrics over HTTP at PORT on loopback, or ADDRESS:PORT; without a broker, "
            "of the local agent, which this then is"
        ),
    ] = None,
    telemetry: Annotated[
        str,
        typer.Option(
            help="how often labs are looked at for what readers are told, 50ms to 1min; less if that costs much"
        ),
    ] = "100ms",
    local: Annotated[bool, typer.Option(hidden=True)] = False,
    state_dir: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Own the labs of this machine and serve them on a broker. Other commands start a local agent by themselves."""
    from testbed.agent import process
    from testbed.agent.metrics import read_address
    from testbed.agent.telemetry import read_period
    from testbed.bus.address import broker_address

    if local and state_dir is not None:
        process.serve_local(state_dir)
        return
    at = None if metrics is None else read_address(metrics)
    period_s = read_period(telemetry)
    settings = (context.obj or {}).get("agent", (None, None, None, None))
    url = broker or settings[0]
    if url is None and at is not None:
        process.become_local(at)
    if url is None:
        raise UsageError("--broker is missing; without a broker no agent is needed, the other commands start one")
    address = broker_address(url, credentials or settings[2], ca_file or settings[3])
    process.serve_broker(address, name, check_underlay(underlay) if underlay else None, at, period_s)
