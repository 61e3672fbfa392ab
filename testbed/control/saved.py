"""A running lab as a file again: the lab as it was written, and above it what is no part of a lab file, as commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from testbed.errors import UsageError
from testbed.experiment.file import check_setting

# Of an experiment, what shapes the fabric of a lab; the rest is about what is run on it.
_SHAPING = ("seed", "driver", "emulation", "lossless", "transport")


def lab_file(description: Mapping[str, Any], file: str) -> str:
    """Return a lab file from what `LabOwner.describe` says; `file` is what it will be called in the commands.

    Deployed by the first command it gives the plan that the lab was deployed by. Raises UsageError where the lab was deployed
    without its file, as from a program that sent a plan alone.
    """
    written = description["written"]
    if written is None:
        raise UsageError(f"lab {description['lab']} was deployed without its file; there is nothing to save")
    deploy = ["testbed", "deploy", "-t", file, "--dilation", str(description["dilation"])]
    deploy += _settings({key: value for key, value in written["experiment"].items() if key in _SHAPING}, ())
    lines = [f"# Saved from the running lab {description['lab']}. To have it again:", f"#     {shlex.join(deploy)}"]
    if changed := description["by_hand"]:
        lines.append("# and then what was changed by hand:")
    for row in changed:
        command = ["testbed", "impair", "set", "--name", description["lab"], row["port"], "--direction", "out"]
        lines.append(f"#     {shlex.join([*command, *row['options']])}")
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 120
    text = StringIO()
    yaml.dump(written["lab"], text)
    return "\n".join(lines) + "\n" + text.getvalue()


def _settings(data: Any, path: Sequence[str]) -> list[str]:
    """Return data of an experiment as `--set` options, a section key by key where it cannot be set as a whole."""
    if isinstance(data, dict) and not _can_be_set(path):
        return [part for key, value in data.items() for part in _settings(value, (*path, key))]
    return ["--set", f"{'.'.join(path)}={json.dumps(data)}"]


def _can_be_set(path: Sequence[str]) -> bool:
    try:
        check_setting(".".join(path))
    except UsageError:
        return False
    return True
