"""testbed deploy and redeploy: a lab that stays up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.commands.beginning import nothing_begun
from testbed.commands.common import (
    DilationOption,
    DriverOption,
    EmulationOption,
    Format,
    FormatOption,
    LabFile,
    LabNameOption,
    PlacementOption,
    SeedOption,
    SetOption,
    TopologyOption,
    console,
    interruptible,
    print_json,
    read_dilation,
    read_named,
    real_clock_settings,
    target,
)
from testbed.commands.progress import bar_of, followed
from testbed.errors import UsageError
from testbed.report.tables import empty_table
from testbed.run.trial import Trial
from testbed.study import preflight

if TYPE_CHECKING:
    from testbed.control.verbs import Target

_SIGNS = {"add": "+", "remove": "-", "change": "~"}

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="show what would be done, and do nothing")]


def deploy(
    context: typer.Context,
    file: LabFile = None,
    topology: TopologyOption = None,
    name: LabNameOption = None,
    dilation: DilationOption = None,
    emulation: EmulationOption = None,
    driver: DriverOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    placement: PlacementOption = None,
    dry_run: DryRunOption = False,
    format_: FormatOption = Format.table,
) -> None:
    """Bring a lab up under the real clock, and leave it up; one that is up is changed where it differs, and only there."""
    with interruptible() as fate:
        with nothing_begun():
            from testbed.control import verbs

            where = target(context, placement)
            trial = _read(
                where, name, _one(file, topology), [*real_clock_settings(emulation, driver), *(set_ or [])], seed
            )
        if dry_run:
            given = None if dilation is None else read_dilation(dilation, trial)
            answer = asyncio.run(verbs.plan_deploy(where, trial, given))
            _print_answer(answer, format_, _plan(answer))
            return
        factor = read_dilation(dilation, trial, where)
        with followed(bar_of(context, format_)) as show:
            answer = asyncio.run(verbs.deploy(where, trial, factor, show, fate))
        done = "is up" if answer["changed"] else "was up already"
        if answer.get("mended"):
            done = "is as planned again"
        _print_answer({**answer, "dilation": factor}, format_, f"{done}, dilation {factor}")


def redeploy(
    context: typer.Context,
    file: LabFile = None,
    topology: TopologyOption = None,
    name: LabNameOption = None,
    dilation: DilationOption = None,
    emulation: EmulationOption = None,
    driver: DriverOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    placement: PlacementOption = None,
    format_: FormatOption = Format.table,
) -> None:
    """Take a lab down, if it is up, and bring it up anew."""
    with interruptible() as fate:
        with nothing_begun():
            from testbed.control import verbs

            where = target(context, placement)
            trial = _read(
                where, name, _one(file, topology), [*real_clock_settings(emulation, driver), *(set_ or [])], seed
            )
        factor = read_dilation(dilation, trial)
        with followed(bar_of(context, format_)) as show:
            answer = asyncio.run(verbs.redeploy(where, trial, factor, show, fate))
        _print_answer({**answer, "dilation": factor}, format_, f"is up, dilation {factor}")


def _plan(answer: dict[str, Any]) -> str:
    """Return what a dry run came to."""
    if not answer["changed"]:
        return "is as planned"
    if answer.get("mended") and not answer["changes"]:
        return "would be restored"
    return "would be changed" if answer["stands"] else "would be made"


def _one(file: str | None, topology: str | None) -> str | None:
    if file is not None and topology is not None:
        raise UsageError(f"two labs are given, {file} and -t {topology}; name one")
    return topology if file is None else file


def _read(where: Target, name: str | None, topology: str | None, settings: list[str], seed: int | None) -> Trial:
    trial = read_named(where, name, None, topology, settings, seed).under("real")
    preflight.check_lab(trial)
    return trial


def _print_answer(answer: dict[str, Any], format_: Format, done: str) -> None:
    if format_ is Format.json:
        print_json(answer)
        return
    if rows := answer.get("changes"):
        table = empty_table(show_header=False)
        for ratio in (None, None, None, 1):
            table.add_column(ratio=ratio)
        for row in rows:
            table.add_row(_SIGNS[row["action"]], row["kind"], row["name"], ", ".join(row["settings"]))
        console().print(table)
    for node, reason in answer.get("mended", {}).items():
        print(f"not as planned: {node}: {reason}")
    print(f"lab {answer['lab']} {done}")
    for row in answer.get("lost", ()):
        where = f" at {row['port']}" if row["port"] else ""
        print(f"frames lost{where}: {row['frames']} ({row['cause']})")
