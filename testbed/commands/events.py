"""testbed events: what happens to a lab, as it happens."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any

import typer

from testbed.bus import messages, told
from testbed.commands.common import Format, FormatOption, LabName, target
from testbed.report.figures import format_ns
from testbed.system import output

# What changes all the time is shown to people no more often than they can read.
_PERIOD_S = 1.0


def events(
    context: typer.Context,
    name: LabName,
    ports: Annotated[bool, typer.Option("--ports", help="the figures of every port too, when they change")] = False,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="end after so many lines")] = None,
    format_: FormatOption = Format.table,
) -> None:
    """Follow a lab until Ctrl-C: what is done to it, its progress, losses and fidelity.

    Figures are shown when they have changed, at most once a second; with json every message is a document on a line of its own.
    """
    from testbed.control import inspection

    async def follow() -> None:
        seen = 0
        async with aclosing(inspection.follow(target(context), name, ports)) as stream:
            async for topic, payload in stream:
                document = messages.decode_told(payload)
                if document is None:
                    continue  # an empty word takes back what was retained
                print(json.dumps({"topic": topic, **document}), flush=True)
                seen += 1
                if seen == count:
                    return

    async def read() -> None:
        async with aclosing(inspection.follow(target(context), name, ports)) as stream:
            await Digest(count).read(stream)

    async def work() -> None:
        # On a quiet lab nothing is written that would tell that nobody reads.
        async with output.until_reader_goes(sys.stdout.fileno()):
            await (follow() if format_ is Format.json else read())

    asyncio.run(work())


class _Enough(Exception):
    """As many lines were printed as were asked for."""


class Digest:
    """Lines for people: what was done at once; of what changes all the time the last word, if it differs from the one before."""

    def __init__(self, count: int | None) -> None:
        self._left = count
        self._waiting: dict[str, str] = {}
        self._shown: dict[str, str] = {}

    async def read(self, stream: AsyncIterator[tuple[str, bytes]]) -> None:
        """Print what is told until it ends or enough was printed. Raises what `told` raises."""
        from testbed.bus.client import end

        reading = asyncio.create_task(self._collect(stream))
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_PERIOD_S)
                self._flush()
            await reading
        except _Enough:
            return
        finally:
            await end(reading)

    async def _collect(self, stream: AsyncIterator[tuple[str, bytes]]) -> None:
        from testbed.report.live import lab_words, port_words

        async for topic, payload in stream:
            document = messages.decode_told(payload)
            if document is None:
                continue  # an empty word takes back what was retained
            try:
                match topic.split("/")[2:]:
                    case ["events"]:
                        words, at = event_words(document), datetime.fromisoformat(document["at"]).astimezone()
                        # What was seen before goes before.
                        self._flush()
                        self._print(words, at)
                    case ["state"]:
                        self._waiting[topic] = lab_words(document)
                    case [node, port, _]:
                        self._waiting[topic] = f"{node}:{port}  {port_words(document)}"
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                # Any agent may write on these topics: one that writes nonsense does not end the command.
                continue

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for topic, line in waiting.items():
            if self._shown.get(topic) != line:
                self._shown[topic] = line
                self._print(line, datetime.now())

    def _print(self, line: str, at: datetime) -> None:
        print(f"{at:%H:%M:%S}  {line}", flush=True)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                raise _Enough


def event_words(event: Mapping[str, Any]) -> str:
    """Return what was done, and with it what there is to say of it."""
    if run := _run_words(event):
        return f"{event['event']}: {run}"
    about = [] if event.get("complete", True) else ["not complete"]
    about += [event["reason"]] if "reason" in event else event.get("reasons", [])
    about += [f"what {way['from']} sends to {way['to']}" for way in event.get("directions", ())]
    for lost in event.get("lost", ()):
        about.append(f"{lost['frames']:,} frames lost{' at ' + lost['port'] if lost['port'] else ''}: {lost['cause']}")
    return f"{event['event']}: {', '.join(about)}" if about else str(event["event"])


def _run_words(event: Mapping[str, Any]) -> str:
    """Return what there is to say of a run that began, goes on, or has its verdict; nothing of anything else."""
    match event["event"]:
        case told.RUN_STARTED:
            rows = f", {event['rows']} rows" if event["rows"] > 1 else ""
            return f"{event['name']} on {event['ranks']} ranks{rows}, dilation {event['dilation']:,}"
        case told.RUN_PROGRESS:
            share = [] if event["share"] is None else [f"{event['share']:.0%}"]
            left = [] if event["left_s"] is None else [f"{event['left_s']:.0f} s left"]
            return ", ".join([f"{format_ns(event['nominal_ns'])} of nominal time", *share, *left])
        case told.RUN_ENDED if event.get("verdict") is not None:
            return ". ".join([event["verdict"], *event["reasons"]])
    return ""
