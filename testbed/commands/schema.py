"""testbed schema: the JSON Schema of the files that users write."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from testbed.commands.common import print_json
from testbed.experiment.file import experiment_schema
from testbed.lab.topology import lab_schema


class Subject(enum.StrEnum):
    """A kind of file."""

    lab = "lab"
    experiment = "experiment"


def schema(
    of: Annotated[Subject, typer.Argument(metavar="KIND", help="which file: lab or experiment")] = Subject.lab,
) -> None:
    """Print the JSON Schema of lab or experiment files."""
    print_json(lab_schema() if of is Subject.lab else experiment_schema())
