"""testbed conformance: does a switch behave as a lossless switch must, case by case."""

from __future__ import annotations

import enum
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.commands import completion
from testbed.commands.common import (
    DilationOption,
    ForceOption,
    Format,
    FormatOption,
    SeedOption,
    SetOption,
    TopologyOption,
    console,
    keep_existing,
    print_json,
    print_note,
    read_experiment,
)
from testbed.errors import UsageError, cannot_write
from testbed.report.tables import empty_table

if TYPE_CHECKING:
    from testbed.conformance.bench import OpenEngine
    from testbed.conformance.device import Device
    from testbed.conformance.suite import Outcome, Suite

_SHOWN_FIGURES = 6
_ADVICE = "run it again with a larger --dilation, while this machine has less to do, or with --clock virtual"
_STYLES = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


class ConformanceClock(enum.StrEnum):
    """What the cases are run under."""

    virtual = "virtual"
    real = "real"


def conformance(
    topology: TopologyOption = None,
    switch: Annotated[
        list[str] | None,
        typer.Option(
            "--switch", autocompletion=completion.switch, help="of the lab's switches only this one; may be repeated"
        ),
    ] = None,
    clock: Annotated[ConformanceClock, typer.Option(help="virtual, or real in namespaces of this machine (root)")] = (
        ConformanceClock.virtual
    ),
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="run only this case, by its name or a public one; may be repeated"),
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="write JUnit XML into this file")] = None,
    force: ForceOption = False,
    list_: Annotated[bool, typer.Option("--list", help="list the cases and what they assert, and run none")] = False,
    dilation: DilationOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    format_: FormatOption = Format.table,
) -> None:
    """Test switches, case by case: with -t those of a lab, with its settings and links, else one made for each case.

    Each switch is put on a bench: a tester takes the place of every neighbour, as far away and as fast.
    """
    from testbed.conformance import suite

    cases = suite.select(only or [])
    if list_:
        return _list(cases, format_)
    if topology is None and (set_ or switch):
        raise UsageError("--set and --switch need -t: without it each case has a lab of its own")
    keep_existing([junit] if junit else [], force)
    bench = "conformance" if clock == "virtual" else f"conformance-{os.getpid()}"
    devices: list[Device] | None = None
    if topology is not None:
        devices = _devices(topology, switch or [], set_ or [], seed, clock, bench)
    runner = suite.Suite(clock.value, _opener(clock, dilation), clock_s=time.monotonic)
    outcomes = []
    for case in cases:
        outcomes.append(_run(runner, case, devices, bench))
        if format_ is Format.table:
            _print_outcome(outcomes[-1])
    if junit is not None:
        _write_junit(outcomes, junit)
    if format_ is Format.json:
        print_json(suite.document(outcomes, clock.value, topology))
    else:
        _summarise(outcomes)
    if any(outcome.distrust for outcome in outcomes):
        print_note(f"What to do: {_ADVICE}.")
    raise typer.Exit(suite.exit_code(outcomes))


def _run(runner: Suite, case: Any, devices: list[Device] | None, bench: str) -> Outcome:
    from testbed.conformance import suite

    chosen = suite.own_devices(case, runner.clock, bench) if devices is None else devices
    return runner.run(case, chosen)


def _devices(
    topology: str, switches: list[str], settings: list[str], seed: int | None, clock: str, bench: str
) -> list[Device]:
    from testbed.conformance import suite
    from testbed.lab.topology import load_lab

    experiment = read_experiment(None, topology, settings, seed)
    devices = suite.devices_of(
        load_lab(topology), experiment, "real" if clock == "real" else "virtual", switches, bench
    )
    for device in devices:
        print_note(f"on the bench: {device.name}, {len(device.ports)} ports")
    return devices


def _opener(clock: ConformanceClock, dilation: str | None) -> OpenEngine:
    from testbed.conformance import engines

    if clock == "virtual":
        if dilation is not None:
            raise UsageError("--dilation has no effect under the virtual clock")
        return engines.virtual
    return engines.real_opener(dilation)


def _list(cases: Any, format_: Format) -> None:
    from testbed.conformance.names import PUBLIC

    if format_ is Format.json:
        rows = [
            {
                "name": case.name,
                "asserts": case.asserts,
                "source": case.source,
                "public": list(PUBLIC.get(case.name, ())),
            }
            for case in cases
        ]
        return print_json({"cases": rows})
    table = empty_table()
    table.add_column("case")
    for column in ("asserts", "source"):
        table.add_column(column, ratio=1)
    table.add_column("public names")
    for case in cases:
        table.add_row(case.name, case.asserts, case.source, " ".join(PUBLIC.get(case.name, ())))
    console().print(table)


def _print_outcome(outcome: Outcome) -> None:
    """Write one line for a case, and one for everything that is wrong."""
    style = _STYLES[outcome.outcome]
    out = console()
    out.print(f"[{style}]{outcome.outcome:8}[/] {outcome.case.name:24} {_figures(outcome)}", soft_wrap=True)
    for failure in outcome.failures:
        out.print(f"           [red]{failure}[/]", soft_wrap=True)
    for reason in outcome.distrust:
        out.print(f"           [yellow]{reason}[/]", soft_wrap=True)


def _figures(outcome: Outcome) -> str:
    """Return the figures of the run that says most, in one line."""
    decisive = outcome.decisive
    if decisive is None:
        return outcome.skipped
    shown = [f"{name} {_short(value)}" for name, value in list(decisive.measured.items())[:_SHOWN_FIGURES]]
    more = f" ({len(outcome.runs)} places)" if len(outcome.runs) > 1 else ""
    return ", ".join(shown).replace("_", " ") + more


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "/".join(_short(item) for item in value.values())
    if isinstance(value, list):
        return "/".join(_short(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _summarise(outcomes: list[Outcome]) -> None:
    counts = {kind: sum(outcome.outcome == kind for outcome in outcomes) for kind in _STYLES}
    console().print(", ".join(f"{count} {kind}" for kind, count in counts.items()))


def _write_junit(outcomes: list[Outcome], path: Path) -> None:
    from testbed.conformance.junit import to_xml

    try:
        path.write_text(to_xml(outcomes), encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from None
