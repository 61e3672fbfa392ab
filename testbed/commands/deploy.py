"""testbed deploy: a lab that stays up."""

from __future__ import annotations

import asyncio

import typer

from testbed.commands.common import (
    DilationOption,
    DriverOption,
    EmulationOption,
    Format,
    FormatOption,
    SeedOption,
    SetOption,
    TopologyOption,
    print_json,
    read_dilation,
    read_trial,
    real_clock_settings,
    target,
)


def deploy(
    context: typer.Context,
    topology: TopologyOption = None,
    dilation: DilationOption = None,
    emulation: EmulationOption = None,
    driver: DriverOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    format_: FormatOption = Format.table,
) -> None:
    """Bring a lab up under the real clock, and leave it up; the same lab again changes nothing."""
    from testbed import controller

    trial = read_trial(None, topology, [*real_clock_settings(emulation, driver), *(set_ or [])], seed).under("real")
    factor = read_dilation(dilation, trial)
    answer = asyncio.run(controller.deploy(target(context), trial, factor))
    if format_ is Format.json:
        print_json({**answer, "dilation": factor})
    else:
        print(f"lab {answer['lab']} {'is up' if answer['changed'] else 'was up already'}, dilation {factor}")
