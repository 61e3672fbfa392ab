"""Files that say where jobs run, in place of a policy: Slurm's, named in `placement` by a name that ends in .conf.

They are read when the experiment is; an experiment in memory holds their text.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from testbed.errors import InputError
from testbed.importers.slurm_jobs import read_jobs, write_jobs
from testbed.importers.text import read_text
from testbed.schema.source import KeyPath, Source

KEY = "placement"
SUFFIX = ".conf"
JOINER = "+"
"""Between policies, and files, that follow each other."""


def inline(source: Source, directory: Path) -> None:
    """Replace the names of files in the placements of an experiment's data by what stands in them; note faults.

    A name leads to a file in `directory`, where the experiment file is, or below; never out of it.
    """
    data: Any = source.data if isinstance(source.data, dict) else {}
    jobs = data.get("jobs")
    _replace(source, data, (KEY,), directory)
    for number, job in enumerate(jobs if isinstance(jobs, list) else ()):
        if isinstance(job, dict):
            _replace(source, job, ("jobs", number, "place"), directory)


def _replace(source: Source, section: dict[str, Any], path: KeyPath, directory: Path) -> None:
    key = str(path[-1])
    value = section.get(key)
    if not isinstance(value, str) or not names_file(value):
        return
    # Faulty as it is, it must not cause a second fault where jobs are placed.
    del section[key]
    home = directory.resolve()
    for name in filter(names_file, map(str.strip, value.split(JOINER))):
        file = None if "\0" in name else Path(os.path.realpath(home / name))
        if file is None or not file.is_relative_to(home) or not os.path.isfile(file):
            source.fault(path, f"{name} is not a file in the directory of the experiment file")
            return
    try:
        section[key] = read_placement(value, directory)
    except InputError as error:
        source.faults += error.faults


def names_file(text: str) -> bool:
    """Return whether a placement, or one of those that are joined, is a file."""
    return any(part.strip().endswith(SUFFIX) for part in text.split(JOINER))


def read_placement(text: str, directory: Path) -> str:
    """Return a placement with what stands in its files in place of their names. Raises TopologyError with file and line."""
    parts = map(str.strip, text.split(JOINER))
    return JOINER.join(
        write_jobs(read_jobs(read_text(directory / part))) if part.endswith(SUFFIX) else part for part in parts
    )


def as_setting(setting: str) -> str:
    """Return a setting of --set; of a placement, with what stands in the files that it names."""
    key, _, value = setting.partition("=")
    if key.strip() != KEY or not names_file(value):
        return setting
    return f"{KEY}={json.dumps(read_placement(value, Path()))}"
