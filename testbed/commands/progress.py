"""How far a command is, on standard error: bars where that is a terminal, nothing where it is not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from testbed.bus.messages import BuildStep, RunStep, Step
from testbed.progress import Pace
from testbed.report.figures import format_bytes

_SHOW_PERIOD_S = 0.1


def is_followed(context: typer.Context, format_: str) -> bool:
    """Return whether somebody looks on: at a terminal, not with --quiet, nor with a --format for programs."""
    return sys.stderr.isatty() and format_ == "table" and not (context.obj or {}).get("quiet", False)


@contextmanager
def counted(total: int, is_shown: bool) -> Iterator[Callable[[], None]]:
    """Count how much of `total` is done."""
    if not is_shown:
        yield lambda: None
        return
    with _bars() as bars:
        task = bars.add_task("", total=total)
        yield lambda: bars.advance(task)


@contextmanager
def followed(is_shown: bool) -> Iterator[Callable[[Step], None]]:
    """Show the building of a lab phase by phase, a bar for each, and then the rows of a run; gone when it is over."""
    if not is_shown:
        yield lambda step: None
        return
    with _bars() as bars:
        yield Steps(bars).show


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), _Count(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


class _Count(MofNCompleteColumn):
    """So many of so many; nothing as long as nobody knows of how many."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class Steps:
    """Turn steps into bars. Until the first of them there is one that says that something begins."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._phase: str | None = None
        self._bar = bars.add_task("starting", total=None)
        self._pace = Pace(_SHOW_PERIOD_S)

    def show(self, step: Step) -> None:
        """Show where something is."""
        match step:
            case BuildStep(phase=phase, done=done, total=total):
                self._set(phase, phase, done, total)
            case RunStep(row=row, rows=rows, size_bytes=size_bytes) if self._pace.is_due():
                self._set("run", format_bytes(size_bytes), row, rows)

    def _set(self, phase: str, description: str, done: int, total: int) -> None:
        """Set the bar of a phase; a phase that begins ends the one before."""
        if phase == self._phase:
            self._bars.update(self._bar, completed=done, total=total, description=description)
            return
        if self._phase is None:
            self._bars.remove_task(self._bar)
        else:
            before = next(task for task in self._bars.tasks if task.id == self._bar)
            self._bars.update(self._bar, completed=before.total)
            self._bars.stop_task(self._bar)
        self._phase, self._bar = phase, self._bars.add_task(description, total=total, completed=done)
