"""testbed schedule: policies tried on the jobs of an experiment, the best first."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from testbed.commands import completion
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
    read_lab,
)
from testbed.commands.means import CacheOption, JobsOption, NoCacheOption, means_of, print_counts
from testbed.commands.progress import ProgressOption, Style, style_of
from testbed.commands.results import result_directory
from testbed.commands.run_options import ColumnsOption, read_columns
from testbed.commands.sweep import noted, print_whole, run_rows
from testbed.errors import HostError, TestbedError
from testbed.experiment.file import Experiment
from testbed.importers.slurm_jobs import write_jobs
from testbed.lab.topology import lab_from
from testbed.report import schedules as schedule_report
from testbed.run import result
from testbed.run.versions import versions
from testbed.study import schedules
from testbed.system import output

FILE_NAME = "schedule.json"


def schedule(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(help="experiment file or name", metavar="EXPERIMENT", autocompletion=completion.experiment),
    ],
    topology: TopologyOption = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            autocompletion=completion.policies,
            help="policies or files of --write-placement, with commas between them; + joins several into one: spread+interleaved",
            show_default="all",
        ),
    ] = None,
    write_placement: Annotated[
        Path | None,
        typer.Option("--write-placement", help="file for the nodes of each job by the best policy, as blocks of Slurm"),
    ] = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    jobs: JobsOption = None,
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="directory for the results", show_default="a new one below results")
    ] = None,
    force: ForceOption = False,
    columns: ColumnsOption = None,
    progress: ProgressOption = Style.auto,
    format_: FormatOption = Format.table,
) -> None:
    """Try policies that place, shift and prioritise the jobs of an experiment, the best first (virtual clock)."""
    overrides = set_ or []
    chosen = schedules.read_policies(policy)
    base = read_experiment(what, topology, overrides, seed)
    lab = lab_from(read_lab(base, named=topology is not None))

    work = schedules.combine(base, lab, chosen, partial(_replay, what, base, overrides))
    directory = context.with_resource(result_directory(out, f"{lab.name}-schedule"))
    there = [directory / FILE_NAME, *sorted(directory.glob(f"row-*/{result.FILE_NAME}"))]
    keep_existing([*there, *filter(None, [write_placement])], force)
    faults: list[TestbedError] = []
    used = means_of(jobs, cache, no_cache)
    rows = run_rows(work, directory, faults, used, style_of(context, format_, progress), schedules.run)
    document = schedules.ScheduleResult(
        lab=lab.name,
        seed=base.seed,
        versions=versions(),
        replay=result.replay_command(sys.argv[1:], base.seed),
        rows=rows,
    )
    with noted(faults):
        path = result.write_text(document.to_json(), directory, FILE_NAME)
        if write_placement is not None:
            best = {job.name: job.ranks for job in document.rows[0].jobs}
            result.write_text(write_jobs(best), write_placement.parent, write_placement.name)
    if format_ is Format.table:
        print_whole(schedule_report.render(document), read_columns(columns))
    else:
        output.write_json(document.to_json())
    print_counts(used)
    if faults:
        raise HostError(str(faults[0]))
    print_note(f"result: {path}")
    raise typer.Exit(document.exit_code)


def _replay(what: str, base: Experiment, overrides: Sequence[str], policy: str) -> str:
    """Return the command that runs one policy."""
    options = [word for setting in [*overrides, f"placement={policy}"] for word in ("--set", setting)]
    command = ["testbed", "run", what, "-t", base.topology, "--clock", "virtual", *options]
    return shlex.join([*command, "--seed", str(base.seed), "--alone"])
