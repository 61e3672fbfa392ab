"""testbed init: a directory to start from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from testbed.commands.common import ForceOption, print_note
from testbed.data import DATA
from testbed.errors import UsageError, cannot_write

# File of the project → where its text ships: no name there begins with a dot, which copies leave out, and the test is no
# module of this package.
FILES = {
    "README.md": "README.md",
    "lab.yaml": "lab.yaml",
    "experiment.yaml": "experiment.yaml",
    "test_fabric.py": "fabric-test.txt",
    ".github/workflows/fabric.yml": "github.yml",
    ".gitlab-ci.yml": "gitlab.yml",
}


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="directory to make, or an empty one")],
    force: ForceOption = False,
) -> None:
    """Write a project to start from: a lab, an experiment, a test for pytest, and workflow files for two CI systems."""
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise UsageError(f"{directory} is not a directory")
    try:
        if not force and directory.is_dir() and any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty; name another directory, or write into it with --force")
        for name, source in FILES.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((DATA / "starter" / source).read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise cannot_write(directory, error) from None
    print_note(f"written: {', '.join(FILES)} in {directory}")
