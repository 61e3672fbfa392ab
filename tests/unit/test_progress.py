"""How far something is: what is told in which order, how often at most, and what is shown of it to whom."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from testbed.bus import messages
from testbed.bus.messages import BuildStep, RunStep
from testbed.commands import progress as shown
from testbed.commands.progress import (
    CountedLines,
    Estimate,
    StepLines,
    Steps,
    Style,
    bar_of,
    format_wall,
    measured,
    style_of,
)
from testbed.drivers import containers
from testbed.drivers.layout import Contained, Node
from testbed.progress import PERIOD_S, BuildProgress, Pace


class Clock:
    """Wall time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_pace_is_due_at_once_and_then_once_a_period() -> None:
    clock = Clock()
    pace = Pace(2.0, clock)
    due = []
    for _ in range(7):
        due.append(pace.is_due())
        clock.now += 0.75
    assert due == [True, False, False, True, False, False, True]


def test_phases_are_reported_as_they_begin_and_what_is_done_now_and_then() -> None:
    clock, told = Clock(), list[tuple[str, int, int]]()
    progress = BuildProgress(lambda *step: told.append(step), clock)
    progress.begin("namespaces", 2)
    progress.advance()
    progress.advance()
    progress.begin("links", 1000)
    for _ in range(1000):
        clock.now += PERIOD_S / 100
        progress.advance()
    progress.begin("interfaces", 0)
    progress.begin("data plane", 4)
    assert (told[0], told[1], told[-1]) == (("namespaces", 0, 2), ("links", 0, 1000), ("data plane", 0, 4))
    links = told[1:-1]
    assert {phase for phase, _, _ in links} == {"links"}
    done = [done for _, done, _ in links]
    assert done == sorted(done) and 9 <= len(done) <= 11


def test_a_build_as_fast_as_can_be_reports_no_more_than_its_phases() -> None:
    told = list[tuple[str, int, int]]()
    progress = BuildProgress(lambda *step: told.append(step), Clock())
    for phase in ("namespaces", "links", "interfaces", "data plane"):
        progress.begin(phase, 1000)
        for _ in range(1000):
            progress.advance()
    assert told == [(phase, 0, 1000) for phase in ("namespaces", "links", "interfaces", "data plane")]


def test_nobody_need_listen() -> None:
    progress = BuildProgress()
    progress.begin("links", 1)
    progress.advance()


def test_containers_that_start_side_by_side_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connected() -> Iterator[Any]:
        yield None

    clock, told = Clock(), list[tuple[str, int, int]]()

    def start(client: Any, lab: str, node: Node) -> int:
        clock.now += 2 * PERIOD_S
        return int(node.name)

    monkeypatch.setattr(containers, "connected", connected)
    monkeypatch.setattr(containers, "_require_image", lambda client, image: None)
    monkeypatch.setattr(containers, "_start", start)
    nodes = [Node(str(number), "host", Contained("image", 0, 1)) for number in range(30)]
    progress = BuildProgress(lambda *step: told.append(step), clock)
    assert containers.Engine().create("lab", nodes, progress) == [(node.name, int(node.name)) for node in nodes]
    assert (told[0], told[-1]) == (("containers", 0, 30), ("containers", 30, 30))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_counting_from_many_threads_loses_nothing() -> None:
    told = list[tuple[str, int, int]]()
    clock = Clock()
    progress = BuildProgress(lambda *step: told.append(step), clock)
    progress.begin("containers", 4000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: progress.advance(), range(3999)))
    clock.now += PERIOD_S
    progress.advance()
    assert told == [("containers", 0, 4000), ("containers", 4000, 4000)]


# What travels


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"phase": "\x1b]0;title\x07", "done": 0, "total": 1},
        {"phase": "links", "done": -1, "total": 1},
        {"phase": "links", "done": 0, "total": 1, "more": 1},
        {"row": 0, "rows": 1},
        {"text": "started"},
    ],
)
def test_a_step_that_is_none_is_passed_over(body: dict[str, Any]) -> None:
    assert messages.decode_step(body) is None


def test_steps_come_out_as_they_went_in() -> None:
    for step in (BuildStep(phase="data plane", done=0, total=360), RunStep(row=1, rows=3, size_bytes=1 << 20)):
        assert messages.decode_step(step.model_dump()) == step


# What is shown


def bars() -> Progress:
    return Progress(console=Console(file=io.StringIO(), force_terminal=True), disable=True)


def test_each_phase_has_a_bar_and_the_next_one_ends_it() -> None:
    shown = bars()
    steps = Steps(shown)
    assert [(task.description, task.total) for task in shown.tasks] == [("starting", None)]
    for step in (
        BuildStep(phase="containers", done=0, total=20),
        BuildStep(phase="containers", done=8, total=20),
        BuildStep(phase="links", done=0, total=19),
        BuildStep(phase="data plane", done=0, total=38),
        RunStep(row=0, rows=3, size_bytes=1 << 20),
    ):
        steps.show(step)
    drawn = [(task.description, task.completed, task.total) for task in shown.tasks]
    assert drawn == [("containers", 20, 20), ("links", 19, 19), ("data plane", 38, 38), ("1.05 MB", 0, 3)]
    assert [task.finished for task in shown.tasks] == [True, True, True, False]


def test_a_phase_shows_what_of_it_is_done() -> None:
    shown = bars()
    steps = Steps(shown)
    for done in (0, 8, 19):
        steps.show(BuildStep(phase="containers", done=done, total=20))
        assert [(task.completed, task.total) for task in shown.tasks] == [(done, 20)]


@pytest.mark.parametrize(
    ("terminal", "quiet", "format_", "option", "style"),
    [
        (True, False, "table", Style.auto, Style.bar),
        (False, False, "table", Style.auto, Style.plain),
        (True, True, "table", Style.auto, Style.none),
        (True, False, "json", Style.auto, Style.none),
        (False, False, "csv", Style.auto, Style.none),
        (True, False, "table", Style.plain, Style.plain),
        (False, True, "json", Style.plain, Style.plain),
        (True, False, "table", Style.none, Style.none),
    ],
)
def test_progress_is_a_bar_on_a_terminal_and_lines_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, quiet: bool, format_: str, option: Style, style: Style
) -> None:
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: terminal))
    context: Any = SimpleNamespace(obj={"quiet": quiet})
    assert style_of(context, format_, option) is style
    assert bar_of(context, format_) is (Style.bar if terminal and not quiet and format_ == "table" else Style.none)


def step(row: int, nominal_us: int | None = None, share: float | None = None) -> RunStep:
    nominal_ps = None if nominal_us is None else nominal_us * 10**6
    return RunStep(row=row, rows=4, size_bytes=1 << 20, nominal_ps=nominal_ps, share=share)


def test_lines_come_once_a_second_with_nominal_time_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    clock.now = 0.0
    lines = StepLines(clock=clock)
    for at_ms in range(0, 10_000, 20):
        clock.now = at_ms / 1000
        lines.show(step(at_ms // 2500, nominal_us=at_ms, share=at_ms / 10_000))
    written = capsys.readouterr().err.splitlines()
    assert len(written) == 9
    assert written[0] == "progress: row 1 of 4 (1.05 MB), 10% done, 1.00 ms nominal, 1.00 ms/s, 9 s left"
    assert written[-1] == "progress: row 4 of 4 (1.05 MB), 90% done, 9.00 ms nominal, 1.00 ms/s, 1 s left"


def test_a_short_run_writes_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    clock.now = 0.0
    lines = StepLines(clock=clock)
    for at_ms in range(0, 1000, 20):
        clock.now = at_ms / 1000
        lines.show(step(0, nominal_us=at_ms))
    assert capsys.readouterr().err == ""


def test_under_the_real_clock_nominal_time_follows_from_the_dilation(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    clock.now = 0.0
    lines = StepLines(dilation=1000, clock=clock)
    for at_s in (0, 2, 4):
        clock.now = at_s
        lines.show(step(at_s // 2))
    assert capsys.readouterr().err.splitlines() == [
        "progress: row 2 of 4 (1.05 MB), 2.00 ms nominal, 1.00 ms/s, 6 s left",
        "progress: row 3 of 4 (1.05 MB), 4.00 ms nominal, 1.00 ms/s, 4 s left",
    ]


def test_rows_of_a_sweep_are_counted_with_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    clock.now = 0.0
    lines = CountedLines(clock)
    lines.begin(100)
    for number in range(1, 101):
        clock.now = number * 2.0
        lines.advance()
    written = capsys.readouterr().err.splitlines()
    assert written[0] == "progress: 1 of 100 done, 3 min 18 s left" and len(written) == 99


def test_a_bar_shows_nominal_time_too() -> None:
    shown = bars()
    steps = Steps(shown, dilation=None)
    clock = Clock()
    clock.now = 0.0
    steps._estimate, steps._pace = Estimate(clock=clock), Pace(0, clock)
    for at_s in (0, 2):
        clock.now = at_s
        steps.show(step(1, nominal_us=500 * at_s, share=0.5))
    (task,) = shown.tasks
    assert (task.description, task.completed) == ("1.05 MB, 1.00 ms nominal, 500.00 us/s, 2 s left", 1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7260, "2 h 1 min")]
)
def test_wall_times_are_whole_seconds(seconds: float, text: str) -> None:
    assert format_wall(seconds) == text


def test_how_much_of_a_file_has_been_read_is_shown_to_whoever_looks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    monkeypatch.setattr(
        shown, "_bars", lambda: Progress(*Progress.get_default_columns()[:1], shown._Count(), console=console)
    )
    with measured(("MB read", "ops matched"), Style.bar) as (read, matched):
        read(7, 200)
        matched(5, 90)
    assert all(text in output.getvalue() for text in ("MB read", "7/200", "ops matched", "5/90"))
    output.truncate(0)
    with measured(("MB read",), Style.none) as (read,):
        read(7, 200)
    assert "7/200" not in output.getvalue()


@pytest.mark.parametrize(
    "command",
    [
        "sweep all_reduce -t pair --set workload.size=4K --over seed=1,2 -j 1 --no-report",
        "campaign --seeds 2 -j 1",
        "schedule jobs-on-rails --policy packed,random -j 1",
    ],
    ids=lambda command: command.partition(" ")[0],
)
def test_verbs_of_many_runs_count_them_when_asked_to(
    call_testbed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Beside a document for programs, too, where there is no progress otherwise."""
    monkeypatch.setattr(shown, "LINE_PERIOD_S", 0.0)
    done = call_testbed(*command.split(), "--progress", "plain", "--format", "json")
    assert "progress: 1 of 2 done" in done.stderr and json.loads(done.stdout)
    assert "progress" not in call_testbed(*command.split(), "--format", "json").stderr
