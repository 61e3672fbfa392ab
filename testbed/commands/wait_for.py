"""testbed wait-for: until a lab is as one wants it."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from testbed import units
from testbed.commands import completion
from testbed.commands.common import LabName, target
from testbed.errors import UsageError
from testbed.health import Wanted


def wait_for(
    context: typer.Context,
    name: LabName,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", autocompletion=completion.node, help="these nodes; all if none is named"),
    ] = None,
    state: Annotated[Wanted, typer.Option("--state", help="what to wait for")] = Wanted.healthy,
    timeout: Annotated[str, typer.Option("--timeout", help="longest time to wait: 60s")] = "60s",
) -> None:
    """Wait until every node of a lab is healthy (or one is unhealthy, or all are gone); exit code 1 if that takes too long."""
    from testbed.control import inspection

    try:
        limit_s = units.parse_time(timeout) / units.PS_PER_SECOND
    except UsageError as error:
        raise UsageError(f"--timeout: {error}") from None
    start = time.monotonic()
    lack = asyncio.run(inspection.wait_for(target(context), name, node or [], state, limit_s))
    meant = f"lab {name}" if not node else f"{', '.join(node)} of lab {name}"
    if lack is None:
        print(f"{meant}: {state} after {time.monotonic() - start:.1f} s")
        return
    print(f"{meant}: not {state} within {timeout}: {lack}")
    raise typer.Exit(1)
