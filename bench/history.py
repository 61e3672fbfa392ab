"""Figures of releases, a line of JSON each in history.jsonl, so that a run shows how far it is from the last of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from bench import BenchError
from testbed.run.versions import versions

HISTORY = Path(__file__).with_name("history.jsonl")
_KEYS = {"version": str, "commit": str, "cpu": str, "cores": int, "kernel": str, "figures": dict}


class Release(NamedTuple):
    """What was measured of a release, on which machine; figures by the key of their row."""

    version: str
    commit: str
    cpu: str
    cores: int
    kernel: str
    figures: dict[str, float]

    def place(self) -> str:
        """Write which release it is, and where it was measured."""
        return f"{self.version}, commit {self.commit}, on {self.cpu}, {self.cores} cores, Linux {self.kernel}"


def read(path: Path = HISTORY) -> list[Release]:
    """Return the releases of a file, oldest first, none if there is no file. Raises BenchError that names a bad line."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [_release(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def _release(line: str, place: str) -> Release:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise BenchError(f"{place}: not JSON: {error}") from None
    if not isinstance(entry, dict):
        raise BenchError(f"{place}: not an object")
    for key, kind in _KEYS.items():
        if not isinstance(entry.get(key), kind):
            raise BenchError(f"{place}: {key}: missing, or not {_NAMES[kind]}")
    bad = next((key for key, figure in entry["figures"].items() if not _is_figure(figure)), None)
    if bad is not None:
        raise BenchError(f"{place}: figures.{bad}: not a number above 0")
    if unknown := entry.keys() - _KEYS.keys():
        raise BenchError(f"{place}: {min(unknown)}: unknown key")
    return Release(**entry)


_NAMES: dict[type, str] = {str: "text", int: "a whole number", dict: "an object"}


def _is_figure(figure: object) -> bool:
    return isinstance(figure, int | float) and not isinstance(figure, bool) and figure > 0


def append(machine: dict[str, Any], figures: dict[str, float], path: Path = HISTORY) -> Release:
    """Write the figures of this checkout behind those of releases before; return what was written."""
    read(path)
    kept = {key: round(figure, 6) for key, figure in sorted(figures.items()) if round(figure, 6) > 0}
    place = {key: machine[key] for key in ("cpu", "cores", "kernel")}
    release = Release(versions()["testbed"], _commit(), **place, figures=kept)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(release._asdict()) + "\n")
    return release


def _commit() -> str:
    """Return the commit of this checkout, with + behind it where files differ from it."""
    command = ["git", "-C", str(HISTORY.parent), "describe", "--always", "--abbrev=8", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
