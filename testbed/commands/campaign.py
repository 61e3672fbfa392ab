"""testbed campaign: random cases against what must be true of any network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.commands.beginning import INTERRUPTED
from testbed.commands.common import ForceOption, Format, FormatOption, keep_existing, print_json, print_note
from testbed.commands.means import (
    CacheOption,
    CollectOption,
    JobsOption,
    NoCacheOption,
    SchedulerOption,
    ShardOption,
    means_of,
    print_counts,
    print_going_on,
)
from testbed.commands.progress import ProgressOption, Style, counted, style_of
from testbed.commands.results import result_directory
from testbed.errors import cannot_write
from testbed.report.sweep import spans
from testbed.study import campaign

SHOWN = 20


def run_campaign(
    context: typer.Context,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1_000_000, help="how many cases")] = 300,
    first: Annotated[int, typer.Option("--first", min=0, help="seed of the first case")] = 1,
    jobs: JobsOption = None,
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    shard: ShardOption = None,
    collect: CollectOption = False,
    scheduler: SchedulerOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="directory for the lab and the experiment of each case that fails")
    ] = None,
    force: ForceOption = False,
    progress: ProgressOption = Style.auto,
    format_: FormatOption = Format.table,
) -> None:
    """Run random labs, workloads and faults, and check what must always hold (virtual clock)."""
    numbers = range(first, first + seeds)
    if out is not None:
        context.with_resource(result_directory(out, ""))
        keep_existing((out / f"seed-{seed}" / name for seed in numbers for name in campaign.CASE_FILES), force)
    used = means_of(jobs, cache, no_cache, shard, collect, scheduler)
    with counted(style_of(context, format_, progress)) as follower:
        results = campaign.run(numbers, used.following(follower))
    if results.interrupted:
        print_note(f"interrupted after {len(results.verdicts)} of {len(numbers)} cases")
        print_going_on(used)
    else:
        print_counts(used)
    if results.missing:
        print_note(f"not run yet: {'seed' if len(results.missing) == 1 else 'seeds'} {spans(results.missing)}")
    if format_ is Format.json:
        print_json(results.document())
    else:
        _print(results)
    if out is not None:
        _write([verdict.seed for verdict in results.failed], out)
    raise typer.Exit(INTERRUPTED if results.interrupted else results.exit_code)


def _print(results: campaign.Campaign) -> None:
    document = results.document()
    endings = ", ".join(f"{count} {ending}" for ending, count in results.endings().items())
    print(f"{document['seeds']} cases, {document['frame_hops']:,} frame-hops: {endings}")
    cases = max(1, len(results.ran))
    for word, counts in (("drawn", results.traits()), ("at work", results.active())):
        print(f"{word}: {', '.join(f'{name} {100 * count / cases:.3g} %' for name, count in counts.items())}")
    for failure in document["failed"][:SHOWN]:
        print(f"seed {failure['seed']} failed; to see it again: {failure['replay']}")
        for problem in failure["problems"]:
            print(f"  - {problem}")
    if len(document["failed"]) > SHOWN:
        print(f"{len(document['failed']) - SHOWN} more failed; --format json names them all")


def _write(seeds: list[int], directory: Path) -> None:
    try:
        for seed in seeds:
            lab, experiment = campaign.write_case(seed, directory / f"seed-{seed}")
            print_note(f"testbed run {experiment} -t {lab} --clock virtual")
    except OSError as error:
        raise cannot_write(directory, error) from None
