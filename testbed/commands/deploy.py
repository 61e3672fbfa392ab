"""testbed deploy: a lab that stays up."""

from __future__ import annotations

import typer

from testbed.commands.common import (
    DilationOption,
    EmulationOption,
    Format,
    FormatOption,
    SeedOption,
    SetOption,
    TopologyOption,
    emulation_setting,
    print_json,
    read_dilation,
    read_trial,
    target,
)


def deploy(
    context: typer.Context,
    topology: TopologyOption = None,
    dilation: DilationOption = None,
    emulation: EmulationOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    format_: FormatOption = Format.table,
) -> None:
    """Bring a lab up under the real clock, and leave it up; the same lab again changes nothing."""
    from testbed import controller

    trial = read_trial(None, topology, [*emulation_setting(emulation), *(set_ or [])], seed).under("real")
    factor = read_dilation(dilation, trial)
    answer = controller.deploy(target(context), trial, factor)
    if format_ is Format.json:
        print_json({**answer, "dilation": factor})
    else:
        print(f"lab {answer['lab']} {'is up' if answer['changed'] else 'was up already'}, dilation {factor}")
