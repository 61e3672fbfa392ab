"""testbed calibrate: what this machine can carry."""

from __future__ import annotations

from typing import Annotated

import typer

from testbed.commands.common import Format, FormatOption, print_json, print_note


def calibrate(
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="wall time to measure for")] = 2.0,
    format_: FormatOption = Format.table,
) -> None:
    """Measure how many frames this machine forwards and how late; --dilation auto is chosen from it."""
    # Not before it is needed: the other commands, `doctor` above all, work without the data plane.
    from testbed.machine import calibration

    measured = calibration.measure(seconds)
    path = calibration.default_path()
    calibration.store(measured, path)
    if format_ is Format.json:
        print_json(measured.model_dump())
    else:
        late = measured.lateness_ns
        print(f"frames over a link   {measured.frame_hops_per_s:,.0f} a second")
        print(f"lateness             p50 {late.p50:,.0f} ns, p99 {late.p99:,.0f} ns, max {late.max:,.0f} ns")
    print_note(f"kept in {path}")
