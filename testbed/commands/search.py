"""testbed search: the best value of settings under which conditions hold."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from testbed.commands import completion
from testbed.commands.beginning import INTERRUPTED
from testbed.commands.common import (
    ForceOption,
    Format,
    FormatOption,
    SeedOption,
    SetOption,
    TopologyOption,
    keep_existing,
    print_note,
    read_experiment,
)
from testbed.commands.means import (
    CacheOption,
    JobsOption,
    NoCacheOption,
    SchedulerOption,
    means_of,
    print_counts,
    print_going_on,
)
from testbed.commands.progress import ProgressOption, Style, counted, style_of
from testbed.commands.results import result_directory
from testbed.commands.sweep import ResultsOption, WhatArgument, print_whole
from testbed.errors import UsageError
from testbed.experiment import axes
from testbed.lab.topology import load_lab
from testbed.report import search as search_report
from testbed.run import result
from testbed.run.trial import Trial
from testbed.run.versions import versions
from testbed.study import search
from testbed.study.ranges import DEFAULT_TOLERANCE, Range, read_range
from testbed.study.search import Aim, Prober
from testbed.system import output

FILE_NAME = "search.json"
TRIALS = 40

MinimiseOption = Annotated[
    str | None,
    typer.Option("--minimise", metavar="SETTING|EXPRESSION", help="setting or figure that is to be least"),
]
MaximiseOption = Annotated[
    str | None,
    typer.Option("--maximise", metavar="SETTING|EXPRESSION", help="setting or figure that is to be greatest"),
]
SubjectToOption = Annotated[
    list[str] | None,
    typer.Option(
        "--subject-to", help="condition as in expect: 'drops.lossless == 0'", show_default="that a run passes"
    ),
]
BetweenOption = Annotated[
    list[str] | None,
    typer.Option(
        "--between",
        metavar="[SETTING=]LOW:HIGH",
        help="setting and both ends of its range; of the one that is to be least or greatest the ends alone",
        autocompletion=completion.setting,
    ),
]
AmongOption = Annotated[
    list[str] | None,
    typer.Option(
        "--among",
        metavar="SETTING=A,B",
        help="setting and the values to choose from: transport.recovery=go-back-n,selective-repeat",
        autocompletion=completion.setting,
    ),
]
ToleranceOption = Annotated[
    str, typer.Option("--tolerance", help="how fine to search: a value, or a percentage of the range")
]
TrialsOption = Annotated[
    int, typer.Option("--trials", min=1, max=10_000, help="runs of a search over several settings, or by a figure")
]


def run_search(
    context: typer.Context,
    what: WhatArgument = None,
    minimise: MinimiseOption = None,
    maximise: MaximiseOption = None,
    subject_to: SubjectToOption = None,
    between: BetweenOption = None,
    among: AmongOption = None,
    tolerance: ToleranceOption = DEFAULT_TOLERANCE,
    trials: TrialsOption = TRIALS,
    topology: TopologyOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    jobs: JobsOption = None,
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    scheduler: SchedulerOption = None,
    out: ResultsOption = None,
    force: ForceOption = False,
    progress: ProgressOption = Style.auto,
    format_: FormatOption = Format.table,
) -> None:
    """Search for the least or greatest value under which conditions hold: by bisection, or by optuna (virtual clock)."""
    overrides = set_ or []
    aim = _aim(minimise, maximise, subject_to or [], between or [], among or [], tolerance)
    base = read_experiment(what, topology, overrides, seed)
    search.check_keys(base, aim)
    lab = load_lab(base.topology)
    aim.check(Trial(base.model_copy(update={"sweep": None, "clock": "virtual"}), lab))

    def replay(spec: str, settings: list[str]) -> str:
        options = [word for setting in [*overrides, *settings] for word in ("--set", setting)]
        command = ["testbed", "run", *([what] if what else []), "-t", spec, "--clock", "virtual", *options]
        return shlex.join([*command, "--seed", str(base.seed)])

    used = means_of(jobs, cache, no_cache, scheduler=scheduler)
    directory = context.with_resource(result_directory(out, f"{lab.name}-search"))
    keep_existing([directory / FILE_NAME], force)
    try:
        with counted(style_of(context, format_, progress)) as follower:
            prober = Prober(base, aim, used.following(follower), replay)
            best, notes = search.bisect(prober) if aim.by_bisection else search.explore(prober, trials, base.seed)
    except KeyboardInterrupt:
        print_note("interrupted")
        print_going_on(used)
        raise typer.Exit(INTERRUPTED) from None
    document = search.SearchResult(
        lab=lab.name,
        seed=base.seed,
        versions=versions(),
        replay=result.replay_command(sys.argv[1:], base.seed),
        method="bisection" if aim.by_bisection else "optuna",
        direction=aim.direction,
        objective=aim.objective,
        subject_to=list(aim.subject_to),
        between={each.key: dict(each.described()) for each in aim.ranges},
        over={axis.key: list(axis.values) for axis in aim.over},
        probes=prober.probes,
        best=best,
        notes=notes,
    )
    path = result.write_text(document.to_json(), directory, FILE_NAME)
    if format_ is Format.table:
        print_whole(search_report.render(document))
    else:
        output.write_json(document.to_json())
    print_counts(used)
    print_note(f"result: {path}")
    raise typer.Exit(document.exit_code)


def _aim(
    minimise: str | None,
    maximise: str | None,
    subject_to: list[str],
    between: list[str],
    among: list[str],
    tolerance: str,
) -> Aim:
    if (minimise is None) == (maximise is None):
        raise UsageError("say what is to be best: --minimise lossless.headroom, or --maximise busbw")
    objective = minimise if minimise is not None else str(maximise)
    if not between and not among:
        raise UsageError("nothing varies: name a range with --between lossless.headroom=0:4MiB")
    ranges = [_range(text, objective, tolerance) for text in between]
    chosen = [axes.read_axis(text) for text in among]
    return Aim("minimise" if minimise is not None else "maximise", objective, subject_to, ranges, chosen)


def _range(text: str, objective: str, tolerance: str) -> Range:
    key, equals, ends = text.rpartition("=")
    return read_range(key.strip() if equals else objective, ends, tolerance)
