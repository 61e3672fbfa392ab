"""testbed schema: the JSON Schema of the files that users write, and of the result that they read."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from testbed.commands.common import print_json
from testbed.experiment.file import experiment_schema
from testbed.lab.topology import lab_schema
from testbed.run import result


class Subject(enum.StrEnum):
    """A kind of file."""

    lab = "lab"
    experiment = "experiment"
    run = "run"


def schema(
    of: Annotated[
        Subject, typer.Argument(metavar="KIND", help="which file: lab, experiment, or run for run.json")
    ] = Subject.lab,
) -> None:
    """Print the JSON Schema of lab files, experiment files or run.json."""
    print_json(_SCHEMAS[of]())


_SCHEMAS: Mapping[Subject, Callable[[], dict[str, Any]]] = {
    Subject.lab: lab_schema,
    Subject.experiment: experiment_schema,
    Subject.run: result.schema,
}
