"""The section `flows` of an experiment: flows that are listed, or drawn from a distribution of sizes at a load.

Files that it names, a list of flows (CSV) or a distribution (lines of bytes and percent), are read when the experiment file is
read; an experiment in memory holds what stood in them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from testbed.errors import nearest
from testbed.experiment import flow_sizes
from testbed.experiment.flow_sizes import NAMED, Distribution
from testbed.lab.ranks import RankPattern, expand
from testbed.schema.fields import FileModel, Priority, Ratio, Size, Time
from testbed.schema.source import Source

MAX_FLOWS = 100_000
MAX_FILE_BYTES = 2**24
COLUMNS = ("from", "to", "priority", "bytes", "start")
_NEEDED = ("from", "to", "bytes")
ANY = "any"
LONGEST_FLOW_BYTES = 2**31


def _known_sizes(name: str) -> str:
    if name not in NAMED:
        raise ValueError(f'no distribution of sizes is called "{name}"{nearest(name, NAMED)}')
    return name


def _flow_bytes(size: int) -> int:
    if not 1 <= size <= LONGEST_FLOW_BYTES:
        raise ValueError(f"a flow has 1 to {LONGEST_FLOW_BYTES} bytes, the longest message")
    return size


FlowBytes = Annotated[Size, AfterValidator(_flow_bytes)]


def _spelled_out(value: object) -> object:
    return {"preset": value} if isinstance(value, str) else value


class Sizes(FileModel):
    """A distribution of flow sizes: one with a name, one size, all sizes between two, or points of its own."""

    preset: Annotated[str, AfterValidator(_known_sizes), WithJsonSchema({"enum": list(NAMED)})] | None = None
    """Name of a distribution: websearch, fbhdp or alistorage; left out, one of the other keys says what it is."""
    constant: FlowBytes | None = None
    """Bytes of every flow; left out, sizes differ."""
    uniform: tuple[FlowBytes, FlowBytes] | None = None
    """Least and most bytes, between which every size is as likely; left out, another key says what it is."""
    cdf: tuple[tuple[Size, Annotated[float, Field(ge=0, le=100)]], ...] | None = None
    """Points of a cumulative distribution, straight between them: bytes, and percent of the flows that are at most as
    long; left out, another key says what it is."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [name for name in ("preset", "constant", "uniform", "cdf") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give one of preset, constant, uniform and cdf")
        largest = self.distribution().points[-1][0]
        if largest > LONGEST_FLOW_BYTES:
            raise ValueError(f"a flow has at most {LONGEST_FLOW_BYTES} bytes, the longest message")
        return self

    def distribution(self) -> Distribution:
        """Return it as points. Raises ValueError for points that make none."""
        if self.preset is not None:
            return NAMED[self.preset]
        if self.constant is not None:
            return flow_sizes.constant(self.constant)
        if self.uniform is not None:
            return flow_sizes.uniform(*self.uniform)
        return Distribution(self.cdf or ())

    @property
    def name(self) -> str:
        """What a result calls it."""
        given = next(name for name in ("preset", "constant", "uniform", "cdf") if getattr(self, name) is not None)
        return self.preset or given


SizesOrName = Annotated[
    Sizes,
    BeforeValidator(_spelled_out),
]


class ListedFlow(FileModel):
    """One flow of a list."""

    source: Annotated[RankPattern, Field(alias="from")]
    """Host that sends."""
    target: Annotated[RankPattern, Field(alias="to")]
    """Host that receives."""
    bytes: FlowBytes
    """Length of the flow in bytes."""
    start: Time = 0
    """Time after the start of the run at which it begins; left out, 0."""
    priority: Priority | None = None
    """Priority of its packets; left out, that of `lossless`."""

    @model_validator(mode="after")
    def _has_two_ends(self) -> Self:
        for pattern in (self.source, self.target):
            if len(expand(pattern)) != 1:
                raise ValueError(f'"{pattern}" stands for several hosts; a flow has one at each end')
        if self.source == self.target:
            raise ValueError(f"a flow from {self.source} to itself")
        return self


class Flows(FileModel):
    """Flows in place of a collective: a `list` of them, or `sizes` drawn at a `load` until a time.

    Drawn flows arrive as a Poisson process. Their number is the one whose mean comes to the load, and their sizes are the
    middles of so many equal shares of the distribution, in random order; so the bytes that are offered are those of the load,
    however heavy the tail. Given its number, the arrivals of a Poisson process are uniform and independent, and so they are
    drawn, as are the two ends of each flow.
    """

    list: Annotated[tuple[ListedFlow, ...], Field(max_length=MAX_FLOWS)] | None = None
    """Flows one by one, or the name of a CSV file with the columns from, to, priority, bytes, start; left out, flows are
    drawn."""
    sizes: SizesOrName | None = None
    """Distribution of the sizes of drawn flows: a name, a mapping, or the name of a file with lines of bytes and percent;
    left out, flows are listed."""
    load: Annotated[Ratio, Field(gt=0)] | None = None
    """Share of the links of all sources that drawn flows take on the wire, headers included, on average until they end;
    left out, flows are listed."""
    until: Time | None = None
    """Time until which drawn flows begin; left out, flows are listed."""
    source: Annotated[RankPattern, Field(alias="from")] = ANY
    """Hosts that drawn flows come from, each as often as its link is fast; left out, any."""
    target: Annotated[RankPattern, Field(alias="to")] = ANY
    """Hosts that drawn flows go to, each as often as the others, but none to its own source; left out, any."""
    queue_pairs: Literal["flow", "pair"] = "flow"
    """A queue pair for every flow, so that all run side by side, or one for two hosts, whose flows go one after the other;
    left out, one a flow."""

    @model_validator(mode="after")
    def _is_listed_or_drawn(self) -> Self:
        drawn = [name for name in ("sizes", "load", "until") if getattr(self, name) is not None]
        if self.list is not None:
            if not self.list:
                raise ValueError("the list of flows is empty")
            ends = [name for name, field in (("from", "source"), ("to", "target")) if field in self.model_fields_set]
            if drawn or ends:
                raise ValueError(f"a list of flows says all of them; it takes no {[*drawn, *ends][0]}")
        elif len(drawn) < 3:
            missing = next(name for name in ("sizes", "load", "until") if name not in drawn)
            raise ValueError(f"flows need a list, or sizes, load and until; {missing} is missing")
        return self


# Files


class _Unreadable(Exception):
    """A file that cannot be read; the text says why."""


def inline(source: Source, directory: Path) -> None:
    """Replace the names of files in the section `flows` of an experiment's data by what stands in them; note faults.

    A name leads to a file in `directory`, where the experiment file is, or below; never out of it.
    """
    flows = source.data.get("flows") if isinstance(source.data, dict) else None
    if not isinstance(flows, dict):
        return
    for key, read, harmless in (("list", _listed, None), ("sizes", _points, {"constant": 1})):
        name = flows.get(key)
        if not isinstance(name, str) or (key == "sizes" and not Path(name).suffix):
            continue
        try:
            flows[key], lines = read(*_text(name, directory))
            for number, line in enumerate(lines):
                source.files["flows", key, number] = str(directory / name)
                source.lines["flows", key, number] = line
        except _Unreadable as error:
            source.fault(("flows", key), str(error))
            # Faulty as it is, it must not cause a second fault where the models read it.
            flows[key] = harmless or [{"from": "a", "to": "b", "bytes": 1}]


def _text(name: str, directory: Path) -> tuple[str, str]:
    try:
        home = directory.resolve(strict=True)
        path = (home / name).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise _Unreadable(f"there is no file {name} beside the experiment file") from None
    if not path.is_relative_to(home) or not path.is_file():
        raise _Unreadable(f"{name} is not a file in the directory of the experiment file")
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise _Unreadable(f"{name} is larger than {MAX_FILE_BYTES} bytes")
        return name, raw.decode("utf-8-sig")
    except OSError as error:
        raise _Unreadable(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _Unreadable(f"{name} is not UTF-8 text") from None


def _listed(name: str, text: str) -> tuple[list[dict[str, Any]], list[int]]:
    """Read a CSV file of flows, and the line of each; the first line names the columns."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return _rows(name, rows)
    except csv.Error as error:
        raise _Unreadable(f"{name}:{rows.line_num}: not CSV: {error}") from None


def _rows(name: str, rows: Any) -> tuple[list[dict[str, Any]], list[int]]:
    columns = [cell.strip() for cell in next(rows, [])]
    for column in columns:
        if column not in COLUMNS:
            raise _Unreadable(f'{name}:1: no column is called "{column}"{nearest(column, COLUMNS)}')
    if len(set(columns)) < len(columns) or not set(_NEEDED) <= set(columns):
        raise _Unreadable(
            f"{name}:1: the first line names the columns, each once: {', '.join(_NEEDED)}, and any others"
        )
    flows: list[dict[str, Any]] = []
    lines: list[int] = []
    for cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise _Unreadable(f"{name}:{rows.line_num}: {len(cells)} cells, not {len(columns)}")
        if len(flows) == MAX_FLOWS:
            raise _Unreadable(f"{name} has more than {MAX_FLOWS} flows")
        row: dict[str, Any] = {key: cell.strip() for key, cell in zip(columns, cells, strict=True) if cell.strip()}
        if "priority" in row and row["priority"].isdecimal():
            row["priority"] = int(row["priority"])
        try:
            ListedFlow.model_validate(row)
        except ValueError as error:
            raise _Unreadable(f"{name}:{rows.line_num}: {_first(error)}") from None
        flows.append(row)
        lines.append(rows.line_num)
    if not flows:
        raise _Unreadable(f"{name} has no flows")
    return flows, lines


def _first(error: ValueError) -> str:
    """Return what is wrong with the first field of a row, and which it is."""
    details: Sequence[Any] = getattr(error, "errors", list)()
    if not details:
        return str(error)
    context = details[0].get("ctx", {}).get("error")
    where = ".".join(map(str, details[0]["loc"]))
    return f"{where}: {context or details[0]['msg']}" if where else str(context or details[0]["msg"])


def _points(name: str, text: str) -> tuple[dict[str, Any], list[int]]:
    """Read the points of a cumulative distribution: a line each, bytes and percent; # begins a comment. No line is of a key."""
    points = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            size, percent = (float(word) for word in words)
        except ValueError:
            raise _Unreadable(f"{name}:{number}: a line has two numbers, bytes and percent") from None
        if size != int(size):
            raise _Unreadable(f"{name}:{number}: {words[0]} is not a whole number of bytes")
        points.append((int(size), percent))
    try:
        Distribution(tuple(points))
    except ValueError as error:
        raise _Unreadable(f"{name}: {error}") from None
    return {"cdf": [list(point) for point in points]}, []
