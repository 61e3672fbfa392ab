"""Which format a file has, by its first bytes and its name, and which files make one trace together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import UsageError, nearest
from testbed.replay.chakra import FILE_NAME, read_chakra, read_groups
from testbed.replay.goal import read_goal
from testbed.replay.goal_binary import MAGIC, USED_UP, read_goal_binary
from testbed.replay.hpcc import read_flows
from testbed.replay.htsim import read_matrix
from testbed.replay.lines import GZIP, Reading, head_of
from testbed.replay.nccl import read_nccl
from testbed.replay.simai import POLICIES, read_simai

_BINARY = [number.to_bytes(8, "little") for number in (MAGIC, USED_UP)]
_COMMENTS = ("#", "//", "/*", "*")


@dataclass(frozen=True)
class Options:
    """Settings that files of some formats leave open."""

    start_unit: str | None = None
    gpus: int | None = None
    groups: Path | None = None


def _goal(paths: Sequence[Path], options: Options) -> list[Reading]:
    return [read_goal(path) for path in paths]


def _goal_binary(paths: Sequence[Path], options: Options) -> list[Reading]:
    return [read_goal_binary(path) for path in paths]


def _matrix(paths: Sequence[Path], options: Options) -> list[Reading]:
    return [read_matrix(path, options.start_unit) for path in paths]


def _flows(paths: Sequence[Path], options: Options) -> list[Reading]:
    return [read_flows(path) for path in paths]


def _simai(paths: Sequence[Path], options: Options) -> list[Reading]:
    return [read_simai(path, options.gpus) for path in paths]


def _chakra(paths: Sequence[Path], options: Options) -> list[Reading]:
    groups = read_groups(options.groups) if options.groups else None
    traces: dict[str, list[Path]] = {}
    for path in paths:
        named = FILE_NAME.fullmatch(str(path))
        traces.setdefault(named[1] if named else "", []).append(path)
    return [read_chakra(of_one, groups) for of_one in traces.values()]


def _nccl(paths: Sequence[Path], options: Options) -> list[Reading]:
    return [read_nccl(paths)]


FORMATS: dict[str, Callable[[Sequence[Path], Options], list[Reading]]] = {
    "goal": _goal,
    "goal-binary": _goal_binary,
    "htsim": _matrix,
    "hpcc": _flows,
    "simai": _simai,
    "chakra": _chakra,
    "nccl": _nccl,
}
"""What reads the files of each format, by its name."""


def read_traces(paths: Sequence[Path], format_: str | None = None, options: Options | None = None) -> list[Reading]:
    """Read files as traces: files of a rank each make one, any others one each. Raises UsageError and InputError."""
    if format_ is not None and format_ not in FORMATS:
        raise UsageError(f'no format of traces is called "{format_}"{nearest(format_, FORMATS)}')
    by_format: dict[str, list[Path]] = {}
    for path in paths:
        by_format.setdefault(format_ or format_of(path), []).append(path)
    return [reading for name, chosen in by_format.items() for reading in FORMATS[name](chosen, options or Options())]


def format_of(path: Path) -> str:
    """Return the format of a file; raise UsageError if it is unknown."""
    head = head_of(path)
    if head[:8] in _BINARY:
        return "goal-binary"
    if head[:2] == GZIP or FILE_NAME.fullmatch(str(path)):
        return "chakra"
    lines = [line.split() for line in head.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()]
    first = next((words for words in lines if words and not words[0].startswith(_COMMENTS)), [])
    if first and first[0].startswith("num_ranks"):
        return "goal"
    if path.suffix in (".cm", ".tm") or (first and first[0] in ("Nodes", "Connections")):
        return "htsim"
    if b" NCCL INFO " in head:
        return "nccl"
    if first and first[0] in POLICIES:
        return "simai"
    if len(first) == 1 and first[0].isdecimal():
        return "hpcc"
    raise UsageError(f"{path}: the format of the file is not recognised; name it with --as: {', '.join(FORMATS)}")
