"""testbed schema: the JSON Schema of the files that users write, of the result that they read, and of what agents tell."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from testbed.bus import told
from testbed.commands.common import print_json
from testbed.experiment.file import experiment_schema
from testbed.lab.topology import lab_schema
from testbed.run import result


class Subject(enum.StrEnum):
    """A kind of file."""

    lab = "lab"
    experiment = "experiment"
    run = "run"
    telemetry = "telemetry"


def schema(
    of: Annotated[
        Subject,
        typer.Argument(
            metavar="KIND", help="lab, experiment, run for run.json, or telemetry for what agents tell over MQTT"
        ),
    ] = Subject.lab,
) -> None:
    """Print the JSON Schema of lab files, experiment files, run.json, or what agents tell of labs."""
    print_json(_SCHEMAS[of]())


_SCHEMAS: Mapping[Subject, Callable[[], dict[str, Any]]] = {
    Subject.lab: lab_schema,
    Subject.experiment: experiment_schema,
    Subject.run: result.schema,
    Subject.telemetry: told.schema,
}
