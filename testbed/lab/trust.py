"""What a lab file may have of the machine that it is deployed on: files beside it, and what its user has named besides.

A lab may be somebody else's. So what its containers see of the machine stays below the directory of its file, whatever its
links lead to, or below a directory that `TESTBED_BINDS` names; and capabilities that give a container power over the machine
are those of `TESTBED_CAPABILITIES`. A file of containerlab names such things as a matter of course: they are left out of
it, with a note; in a lab file they are faults.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from testbed.lab.setup import HARMLESS, POWERFUL
from testbed.schema.source import KeyPath, Source, dotted

BINDS, CAPABILITIES = "TESTBED_BINDS", "TESTBED_CAPABILITIES"

_CONFINED = ("binds", "startup-config", "cap-add")
_Entry = dict[str, Any]


def named_directories() -> list[Path]:
    """Return the directories of this machine that whoever runs this process lets containers see."""
    named = [each for each in os.environ.get(BINDS, "").split(os.pathsep) if each]
    return [Path(os.path.realpath(each)) for each in named]


def allowed_capabilities() -> set[str]:
    """Return the capabilities that a container may have here."""
    named = {each.strip().removeprefix("CAP_") for each in os.environ.get(CAPABILITIES, "").split(",")}
    return set(HARMLESS) | (named & POWERFUL)


def is_below(path: str, directories: Sequence[Path]) -> bool:
    """Return whether a path is in one of these directories, wherever its links lead."""
    return any(Path(os.path.realpath(path)).is_relative_to(directory) for directory in directories)


def confined(source: Source, foreign: bool) -> Source:
    """Return the data of a lab file with the paths of its containers made absolute, and nothing of what it may not have."""
    if not any(key in entry for _, entry in _entries(source.data) for key in _CONFINED):
        return source
    data = copy.deepcopy(source.data)
    confiner = _Confiner(source, foreign)
    for path, entry in _entries(data):
        confiner.confine(path, entry)
    notes = (*source.notes, *confiner.notes)
    return Source(source.file, data, source.lines, [*source.faults, *confiner.faults], notes, source.files)


def _entries(data: object) -> Iterator[tuple[KeyPath, _Entry]]:
    """Yield what says what a container is given: defaults, kinds and nodes."""
    topology = data.get("topology") if isinstance(data, dict) else None
    if not isinstance(topology, dict):
        return
    if isinstance(defaults := topology.get("defaults"), dict):
        yield ("topology", "defaults"), defaults
    for section in ("kinds", "nodes"):
        entries = topology.get(section)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if isinstance(entry, dict):
                yield ("topology", section, name), entry


class _Confiner:
    """Look at the entries of one file, and collect what is wrong with them."""

    def __init__(self, source: Source, foreign: bool) -> None:
        self._source = source
        self._foreign = foreign
        self._directory = Path(os.path.realpath(Path(source.file).parent))
        self._allowed = [self._directory, *named_directories()]
        self._capabilities = allowed_capabilities()
        self.faults: list[Any] = []
        self.notes: list[str] = []

    def confine(self, path: KeyPath, entry: _Entry) -> None:
        """Make paths absolute, and refuse what leads out of the directory, or gives power over the machine."""
        binds = entry.get("binds")
        if isinstance(binds, list):
            read = [(place, self._bind(bind)) for place, bind in enumerate(binds)]
            said = [str(bind).partition(":")[0] for bind in binds]
            kept = [bind for place, bind in read if self._is_kept(bind, (*path, "binds", place), said[place])]
            entry["binds"] = kept
        if isinstance(config := entry.get("startup-config"), str):
            target = self._path(config)
            if self._is_kept(target, (*path, "startup-config"), config):
                entry["startup-config"] = target
            else:
                del entry["startup-config"]
        added = entry.get("cap-add")
        if isinstance(added, list):
            entry["cap-add"] = [
                each for place, each in enumerate(added) if self._may_have(each, (*path, "cap-add", place))
            ]

    def _bind(self, bind: object) -> Any:
        """Return a bind with an absolute source, None for one that leads out; what is no bind at all is for the schema."""
        if not isinstance(bind, str) or ":" not in bind or bind.startswith(":"):
            return bind
        source, _, rest = bind.partition(":")
        path = self._path(source)
        return None if path is None else f"{path}:{rest}"

    def _path(self, text: str) -> str | None:
        """Return the real path of a file that a lab names; None if that is in none of the directories that it may see."""
        try:
            path = os.path.realpath(self._directory / os.path.expanduser(text))
        except ValueError:  # a character that no path has
            return None
        return path if is_below(path, self._allowed) else None

    def _is_kept(self, value: object, path: KeyPath, said: str) -> bool:
        if value is None:
            what = f'"{said[:100]}" leads out of {self._directory}, the directory of the lab file'
            self._refuse(path, what, f"name it in {BINDS} to allow it")
        return value is not None

    def _may_have(self, name: object, path: KeyPath) -> bool:
        plain = str(name).removeprefix("CAP_")
        if plain not in POWERFUL or plain in self._capabilities:
            return True
        self._refuse(
            path, f"{plain} gives a container power over the machine", f"name it in {CAPABILITIES} to allow it"
        )
        return False

    def _refuse(self, path: KeyPath, what: str, advice: str) -> None:
        if self._foreign:
            where = f"{self._source.file}:{self._source.line(path)}: {dotted(path)}"
            self.notes.append(f"{where}: left out, since {what}; {advice}")
        else:
            self.faults.append(self._source.fault_at(path, f"{what}; {advice}"))
