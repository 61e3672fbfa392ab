"""Options that say by what means the runs of a study come about: kept points, a share of them, a scheduler."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.commands.common import print_note
from testbed.errors import UsageError
from testbed.study import dask, means, parallel
from testbed.study.means import Means
from testbed.study.points import DIRECTORY_VARIABLE, Points, default_directory

JobsOption = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="runs at a time", show_default="all processors")
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        envvar=DIRECTORY_VARIABLE,
        help="directory of kept runs: what is there is not run again",
        show_default="~/.cache/testbed/points",
    ),
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="run everything, and keep nothing for the next time")]
ShardOption = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="run one share of N, the first being 1/N, into the cache alone"),
]
CollectOption = Annotated[
    bool, typer.Option("--collect", help="run nothing: make the result of what shares have left in the cache")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="dask|tcp://HOST:PORT",
        help="what runs: Dask with workers of this machine, or the Dask scheduler at an address",
        show_default="processes of this machine",
    ),
]


def means_of(
    jobs: int | None,
    cache: Path | None,
    no_cache: bool,
    shard: str | None = None,
    collect: bool = False,
    scheduler: str | None = None,
) -> Means:
    """Return the means that options ask for. Raises UsageError where they contradict each other."""
    share = None if shard is None else means.read_shard(shard)
    if no_cache and (share is not None or collect):
        raise UsageError(f"{'--collect' if collect else '--shard'} needs the cache; leave --no-cache out")
    if collect and share is not None:
        raise UsageError("--shard runs, and --collect runs nothing; choose one")
    if collect and scheduler is not None:
        raise UsageError("--scheduler runs, and --collect runs nothing; choose one")
    side_by_side = jobs or parallel.processors()
    runner = (
        means.on_this_machine(side_by_side)
        if scheduler is None
        else dask.on_dask(dask.check_address(scheduler), side_by_side)
    )
    return Means(runner, None if no_cache else Points(cache or default_directory()), share, collect)


def print_counts(used: Means) -> None:
    """Say what was computed and what was not, where anything was read, shared or left out."""
    counts, points = used.counts, used.points
    if points is None:
        return
    if used.shard is not None or counts.read or counts.missing:
        share = f"share {used.shard}: " if used.shard else ""
        missing = f", {len(counts.missing)} missing" if counts.missing else ""
        print_note(f"{share}{counts.computed} run, {counts.read} from {points.directory}{missing}")
    if counts.unwritten is not None:
        print_note(f"note: the next time begins anew: {counts.unwritten}")


def print_going_on(used: Means) -> None:
    """Say after an interrupt what the same command will find."""
    counts, points = used.counts, used.points
    if points is not None and counts.unwritten is None:
        print_note(f"the same command goes on from there: {counts.computed + counts.read} are in {points.directory}")
