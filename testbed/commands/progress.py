"""How far a command is, on standard error: bars where that is a terminal, else a line a second once it takes longer."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from testbed.bus.messages import BuildStep, RunStep, Step
from testbed.progress import Follower, Pace
from testbed.report.figures import format_bytes, format_ns

_SHOW_PERIOD_S = 0.1
LINE_PERIOD_S = 1.0
"""Between two lines; what takes less writes none."""


class Style(enum.StrEnum):
    """How progress is shown."""

    auto = "auto"
    bar = "bar"
    plain = "plain"
    none = "none"


ProgressOption = Annotated[
    Style,
    typer.Option(
        "--progress",
        help="bar, plain (a line a second), none, or auto: a bar on a terminal, else lines; none with --format json",
    ),
]


def style_of(context: typer.Context, format_: str, option: Style = Style.auto) -> Style:
    """Return how progress is shown: as the option says, else not with --quiet, nor with a --format for programs."""
    if option is not Style.auto:
        return option
    if format_ != "table" or (context.obj or {}).get("quiet", False):
        return Style.none
    return Style.bar if sys.stderr.isatty() else Style.plain


def bar_of(context: typer.Context, format_: str) -> Style:
    """Return how the progress of a lab is shown: by bars on a terminal, and in a pipe not at all."""
    return Style.bar if style_of(context, format_) is Style.bar else Style.none


@contextmanager
def counted(style: Style) -> Iterator[Follower]:
    """Count how much of a study is done, with the time left."""
    if style is Style.bar:
        with _bars(TimeRemainingColumn()) as bars:
            yield _CountedBar(bars)
    elif style is Style.plain:
        yield CountedLines()
    else:
        yield Follower()


@contextmanager
def measured(names: Sequence[str], style: Style) -> Iterator[list[Callable[[int, int], None]]]:
    """Show how much of so much is done of several things, one behind the other; each is told by a function of its own."""
    if style is Style.bar:
        with _bars() as bars:
            tasks = [bars.add_task(name, total=None) for name in names]
            yield [partial(_measure, bars, task) for task in tasks]
    elif style is Style.plain:
        pace = Pace(LINE_PERIOD_S)
        pace.is_due()
        yield [partial(_write_measured, pace, name) for name in names]
    else:
        yield [lambda done, total: None for _ in names]


def _measure(bars: Progress, task: TaskID, done: int, total: int) -> None:
    bars.update(task, completed=done, total=total)


def _write_measured(pace: Pace, name: str, done: int, total: int) -> None:
    if pace.is_due():
        _write(f"{done} of {total} {name}")


@contextmanager
def followed(style: Style, dilation: int | None = None) -> Iterator[Callable[[Step], None]]:
    """Show the building of a lab phase by phase, and then the rows of a run, with nominal time, rate and time left.

    Bars are gone when it is over. With a dilation nominal time is that of the wall clock since the first row, at most.
    """
    if style is Style.bar:
        with _bars() as bars:
            yield Steps(bars, dilation).show
    elif style is Style.plain:
        yield StepLines(dilation).show
    else:
        yield lambda step: None


def _bars(*more: ProgressColumn) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), _Count(), TimeElapsedColumn(), *more)
    return Progress(*columns, console=Console(stderr=True), transient=True)


class _Count(MofNCompleteColumn):
    """So many of so many; nothing as long as nobody knows of how many."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class Estimate:
    """Nominal time, its rate and the time left of a run, from its steps."""

    def __init__(self, dilation: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._dilation = dilation
        self._clock = clock
        self._began_s: float | None = None

    def figures(self, step: RunStep) -> list[str]:
        """Return what is known: nominal time done, nominal time per second of wall time, time left."""
        now_s = self._clock()
        self._began_s = now_s if self._began_s is None else self._began_s
        elapsed_s = now_s - self._began_s
        if elapsed_s < LINE_PERIOD_S:
            return []
        parts = []
        nominal_ns = None if step.nominal_ps is None else step.nominal_ps / 1000
        if nominal_ns is None and self._dilation is not None:
            nominal_ns = elapsed_s * 1e9 / self._dilation
        if nominal_ns:
            parts += [f"{format_ns(nominal_ns)} nominal", f"{format_ns(nominal_ns / elapsed_s)}/s"]
        if share := step.share or step.row / step.rows:
            parts.append(f"{format_wall(elapsed_s * (1 - share) / share)} left")
        return parts


def format_wall(seconds: float) -> str:
    """Write a wall time in whole seconds, minutes and hours: "2 min 5 s"."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


class StepLines:
    """Write steps as lines, one a second, the first when a second has passed."""

    def __init__(self, dilation: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._estimate = Estimate(dilation, clock)
        self._pace = Pace(LINE_PERIOD_S, clock)
        self._pace.is_due()

    def show(self, step: Step) -> None:
        """Write where something is, if it is time."""
        match step:
            case BuildStep(phase=phase, done=done, total=total) if self._pace.is_due():
                _write(f"{phase}: {done} of {total}")
            case RunStep(row=row, rows=rows, size_bytes=size_bytes):
                figures = self._estimate.figures(step)
                if not self._pace.is_due():
                    return
                row_text = [f"row {row + 1} of {rows} ({format_bytes(size_bytes)})"] if size_bytes else []
                share = [f"{step.share:.0%} done"] if step.share is not None else []
                _write(", ".join([*row_text, *share, *figures]) or "running")


class CountedLines(Follower):
    """Write how much of a total is done as lines, one a second, the first when a second has passed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begin(0)

    def begin(self, total: int) -> None:
        """So many are to be done, from now on."""
        self._total, self._done, self._began_s = total, 0, self._clock()
        self._pace = Pace(LINE_PERIOD_S, self._clock)
        self._pace.is_due()

    def advance(self) -> None:
        """Count one more."""
        self._done += 1
        if self._pace.is_due() and self._done < self._total:
            left_s = (self._clock() - self._began_s) * (self._total - self._done) / self._done
            _write(f"{self._done} of {self._total} done, {format_wall(left_s)} left")


class _CountedBar(Follower):
    """Show how much of a total is done as a bar."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=None)

    def begin(self, total: int) -> None:
        self._bars.reset(self._task, total=total)

    def advance(self) -> None:
        self._bars.advance(self._task)


def _write(text: str) -> None:
    print(f"progress: {text}", file=sys.stderr, flush=True)


class Steps:
    """Turn steps into bars. Until the first of them there is one that says that something begins."""

    def __init__(self, bars: Progress, dilation: int | None = None) -> None:
        self._bars = bars
        self._estimate = Estimate(dilation)
        self._phase: str | None = None
        self._bar = bars.add_task("starting", total=None)
        self._pace = Pace(_SHOW_PERIOD_S)

    def show(self, step: Step) -> None:
        """Show where something is."""
        match step:
            case BuildStep(phase=phase, done=done, total=total):
                self._set(phase, phase, done, total)
            case RunStep(row=row, rows=rows, size_bytes=size_bytes) if self._pace.is_due():
                figures = self._estimate.figures(step)
                description = ", ".join([*([format_bytes(size_bytes)] if size_bytes else []), *figures]) or "run"
                self._set("run", description, row, rows)

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
