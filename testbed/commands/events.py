"""testbed events: what happens to a lab, as it happens."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Annotated

import typer

from testbed.commands.common import Format, FormatOption, LabName, target


def events(
    context: typer.Context,
    name: LabName,
    ports: Annotated[
        bool, typer.Option("--ports", help="the counters of every port too, whenever they change")
    ] = False,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="end after so many")] = None,
    format_: FormatOption = Format.table,
) -> None:
    """Follow a lab until Ctrl-C: what is done to it, its state, progress and fidelity; with json one document a line."""
    from testbed import controller

    async def follow() -> None:
        seen = 0
        async with aclosing(controller.follow(target(context), name, ports)) as told:
            async for topic, payload in told:
                _show(topic, payload, format_)
                seen += 1
                if seen == count:
                    return

    asyncio.run(follow())


def _show(topic: str, payload: bytes, format_: Format) -> None:
    try:
        document = json.loads(payload)
    except ValueError:
        return  # an empty word takes back what was retained, and nobody else writes on these topics
    if format_ is Format.json:
        print(json.dumps({"topic": topic, **document}), flush=True)
        return
    kind = topic.rpartition("/")[2]
    if kind == "events":
        about = [f"{key} {value}" for key, value in document.items() if key not in ("at", "lab", "event") and value]
        print(f"{document.get('at')}  {document.get('event')}  {', '.join(about)}".rstrip(), flush=True)
    elif kind == "state":
        progress = f"{document.get('ranks_finished')} of {document.get('ranks')} ranks finished"
        drops = sum((document.get("drops") or {}).values())
        print(f"state: {document.get('frame_hops', 0):,} frame-hops, {drops:,} drops, {progress}", flush=True)
    else:
        priorities = document.get("priorities", {})
        sent = sum(figures.get("frames_tx", 0) for figures in priorities.values())
        print(f"{':'.join(topic.split('/')[2:4])}: {sent:,} frames sent", flush=True)
