"""testbed doctor: what this machine can do, and what to do about the rest."""

from __future__ import annotations

from dataclasses import asdict

import typer

from testbed.commands.common import Format, FormatOption, console, print_json
from testbed.errors import HostError
from testbed.report.tables import empty_table

# What a check may be needed for, that the real clock cannot do without.
_INDISPENSABLE = ("real clock", "every run")


def doctor(format_: FormatOption = Format.table) -> None:
    """Examine this machine; exit with 3 if it cannot run labs under the real clock."""
    from testbed.machine import doctor as examination

    checks = [*examination.checks(), examination.Check(*_broker())]
    obstacle = real_clock_obstacle()
    if format_ is Format.json:
        print_json({"real_clock": obstacle is None, "checks": [asdict(check) for check in checks]})
    else:
        table = empty_table()
        for title in ("check", "", "found", "needed for"):
            table.add_column(title, ratio=1 if title in ("found", "needed for") else None)
        for check in checks:
            mark = "[green]ok[/]" if check.ok else "[red]missing[/]"
            table.add_row(check.name, mark, check.detail, check.needed_for)
        console().print(table)
        print("real clock: " + ("this machine can" if obstacle is None else f"not here, {obstacle}"))
    if obstacle is not None:
        raise typer.Exit(HostError.exit_code)


def _broker() -> tuple[str, bool, str, str]:
    """Look for mosquitto, and for the broker of the usual directory."""
    from testbed.bus import mosquitto

    purpose = "shared labs, the live page"
    try:
        description = mosquitto.program()
    except HostError as error:
        return "mosquitto", False, str(error), purpose
    directory = mosquitto.default_directory()
    if (process := mosquitto.running(directory)) is not None:
        description += f"; a broker runs, process {process}"
    if (page_url := mosquitto.websockets_url(directory)) is not None:
        description += f", websockets at {page_url}"
    return "mosquitto", True, description, purpose


def real_clock_obstacle() -> str | None:
    """Return in one line why this machine cannot run the real clock; None if it can."""
    from testbed.machine import doctor as examination

    for check in examination.checks():
        if not check.ok and check.needed_for in _INDISPENSABLE:
            return f"{check.name}: {check.detail}"
    return None
