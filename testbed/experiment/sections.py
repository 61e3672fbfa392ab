"""The lossless settings and the workload of an experiment, a model each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from testbed import traffic
from testbed.errors import nearest
from testbed.experiment.sizes import ALL, MAX_SIZES, sizes_between
from testbed.lab.marking import Marking
from testbed.lab.ranks import RankPattern, expand
from testbed.lab.watchdog import SwitchedWatchdog
from testbed.schema.fields import (
    AUTO,
    FileModel,
    Flag,
    FlowControl,
    Percent,
    Priorities,
    Priority,
    Size,
    SizeOrAuto,
    SizeShareOrAuto,
    Time,
    TimeOrAuto,
)
from testbed.traffic.elements import DTYPES, REDOPS

DEFAULT_SIZE_BYTES = 2**20
HIERARCHICAL = "hierarchical"
DEFAULT_SITES = 2


def _root(value: object) -> object:
    if value == ALL:
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not the number of a rank, nor all")
    return value


_ROOT = BeforeValidator(_root), WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"const": ALL}]})


def _one_of(known: Sequence[str], what: str) -> Any:
    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f'no {what} is called "{value}"{nearest(value, known)}')
        return value

    return AfterValidator(check), WithJsonSchema({"enum": list(known)})


class Lossless(FileModel):
    """How switches keep a priority from losing frames; without PFC it is dropped at the tail like any other.

    Thresholds given here hold for every switch and win over the lab's; a `headroom` of 50% is half of what auto comes to at
    each port, to see what too little does. `response` is how long a paused port may still start frames; `auto` takes it from
    the rate. `small-share`, of switches with cells: how many of a hundred frames derived headroom takes for small ones; none
    given, it is made for the worst case. An `xon` above the xoff of a port counts as equal to it.

    `flow-control` is that of every link, whatever the lab says: pfc, credit, none (which `pfc: false` says too). `credits`
    is what each end of a link with credits grants the other, by priority; `auto` is the lab's, or what the link needs.

    `ecn` marks what leaves long queues of lossless priorities: a preset or {kmin, kmax, pmax}; null is off. Where many
    senders share a queue, kmin should lie well below what their groups hold before XOFF, or pauses come first.

    `watchdog` sets what switches do about priorities that are paused for too long: true, false, or settings that win over
    the lab's one by one. Nothing is said unless somebody says it.
    """

    pfc: Flag = True
    """Whether switches pause their peers; false is `flow-control: none` on every link."""
    flow_control: FlowControl | None = None
    """Flow control of every link, whatever the lab says; left out, the lab's."""
    credits: SizeOrAuto = AUTO
    """Bytes that each end of a link with credits grants the other; `auto` is the lab's, or what the link needs."""
    priority: Priority = 3
    """Priority that the workload travels on, and that is kept lossless."""
    background: Priorities = ()
    """Priorities that jobs and flows may travel on though switches drop what is too much of them; left out, none."""
    headroom: SizeShareOrAuto = AUTO
    """Bytes above XOFF for what arrives after a pause, or a share of the need; `auto` is the lab's, or the need."""
    xoff: SizeOrAuto = AUTO
    """Bytes of a priority group above which it pauses its peer; `auto` is the lab's, or follows from the link."""
    xon: SizeOrAuto = AUTO
    """Bytes of a priority group at which its peer may go on; `auto` is the lab's, or two frames below XOFF."""
    small_share: Percent | None = None
    """Percent of frames that derived headroom takes for small ones, on switches with cells; left out, the lab's."""
    response: TimeOrAuto = AUTO
    """Time for which a paused port may still start frames; `auto` follows from its rate."""
    ecn: Marking | None = None
    """Marks of frames that leave long queues: a preset, or all three figures; left out, nothing is marked."""
    watchdog: SwitchedWatchdog | None = None
    """Watchdog against pause storms on every switch: true, false, or settings; left out, the lab's."""

    @model_validator(mode="after")
    def _agrees(self) -> Lossless:
        if isinstance(self.xon, int) and isinstance(self.xoff, int) and self.xon > self.xoff:
            raise ValueError(f"xon, {self.xon} bytes, is above xoff, {self.xoff} bytes")
        if not self.pfc and self.flow_control not in (None, "none"):
            raise ValueError(f"pfc: false means flow-control: none for every link, not {self.flow_control}")
        return self


class Workload(FileModel):
    """What is sent. Give one `size`, or a range from `minbytes` to `maxbytes` in steps of `stepfactor` or `stepbytes`.

    Rank i runs on the i-th of `ranks`, or of the lab's accelerators if none are named; a host named without a number stands
    for all of its own. Without `payload` only lengths travel: a
    run takes as long and counts the same, and needs no memory, but there is no result to compare.
    `late` names hosts whose rank begins later than the others, every time.
    `sites`, of a hierarchical algorithm: how many groups of consecutive ranks, equal in size, are far from each other; 2
    unless told otherwise.
    """

    collective: Annotated[str, *_one_of(sorted(traffic.COLLECTIVES), "collective")] = "all_reduce"
    """Collective, or pattern of traffic, that is run."""
    algorithm: str | None = None
    """Algorithm of the collective; left out, its usual one."""
    size: Size | None = None
    """Bytes of the one size that is run; left out, the range of `minbytes` and `maxbytes`, or 1 MiB."""
    minbytes: Size | None = None
    """Bytes of the smallest size of a range; left out, `maxbytes`."""
    maxbytes: Size | None = None
    """Bytes of the largest size of a range; left out, `minbytes`."""
    stepfactor: int = Field(default=2, strict=True, ge=2, le=1024)
    """Factor from one size of the range to the next; after 0 comes 4."""
    stepbytes: Size | None = None
    """Bytes from one size of the range to the next; left out, `stepfactor` leads to it."""
    iterations: int = Field(default=1, strict=True, ge=1, le=10_000)
    """Times that each size is measured."""
    warmup_iterations: int = Field(default=0, strict=True, ge=0, le=10_000)
    """Times that the largest size is run before the first is measured; no figure is of them."""
    aggregate: int = Field(default=1, strict=True, ge=1, le=1000)
    """Calls that are made at once in each iteration; a row shows the share of one of them."""
    datatype: Annotated[str, *_one_of([*DTYPES, ALL], "datatype")] = "float"
    """Type of the elements; `all` runs every type in turn."""
    redop: Annotated[str, *_one_of([*REDOPS, ALL], "redop")] = "sum"
    """Operation by which elements are reduced; `all` runs every operation in turn."""
    root: Annotated[int | Literal["all"], *_ROOT] = 0
    """Rank that a collective with a root sends from or to; `all` runs every rank in turn."""
    in_place: Flag = True
    """Whether results replace the data that they are made of."""
    payload: Flag = True
    """Whether data travels and results are compared; false sends lengths alone, and needs no memory."""
    slice: Size | None = None
    """Bytes into which messages are split, to pass one slice on while the next arrives; left out, they stay whole."""
    ranks: tuple[RankPattern, ...] = ()
    """Accelerators in the order of the ranks: h1, h1/3 or s[1-8]/[0-7]; left out, all of them in the order of the lab."""
    late: dict[RankPattern, Time] = Field(default_factory=dict)
    """Time by which a rank begins later than the others, by the rank, or by the host if all of its ranks do."""
    channels: int = Field(default=1, strict=True, ge=1, le=64)
    """Rings or trees that share the vector, each with the ranks of a host in an order of its own; see `transport.port`."""
    sites: int | None = Field(default=None, strict=True, ge=2, le=1024)
    """Number of equal groups of consecutive ranks, of a hierarchical algorithm; left out, 2."""

    @model_validator(mode="after")
    def _agrees(self) -> Workload:
        known = traffic.ALGORITHMS[self.collective]
        if self.algorithm is not None and self.algorithm not in known:
            raise ValueError(f'{self.collective} has no algorithm "{self.algorithm}"{nearest(self.algorithm, known)}')
        if self.channels > 1 and not self.definition.channels:
            raise ValueError(
                f"channels are for rings and trees; {self.collective} has none by {self.definition.algorithm}"
            )
        if self.sites is not None and self.algorithm != HIERARCHICAL:
            raise ValueError(f"sites are for the algorithm {HIERARCHICAL} alone")
        if self.size is not None and (self.minbytes is not None or self.maxbytes is not None):
            raise ValueError("give a size, or minbytes and maxbytes, not both")
        smallest, largest = self._range()
        if smallest > largest:
            raise ValueError(f"minbytes, {smallest}, is above maxbytes, {largest}")
        if self.stepbytes is not None:
            if "stepfactor" in self.model_fields_set:
                raise ValueError("give stepfactor or stepbytes, not both")
            if self.stepbytes == 0:
                raise ValueError("stepbytes is at least 1 byte")
        named = [rank for pattern in self.ranks for rank in expand(pattern)]
        if len(set(named)) != len(named):
            raise ValueError("a host is listed twice in ranks")
        return self

    def _range(self) -> tuple[int, int]:
        if self.size is not None:
            return self.size, self.size
        low = self.minbytes if self.minbytes is not None else self.maxbytes
        high = self.maxbytes if self.maxbytes is not None else self.minbytes
        return (DEFAULT_SIZE_BYTES if low is None else low, DEFAULT_SIZE_BYTES if high is None else high)

    @property
    def definition(self) -> traffic.Collective:
        """The collective, carried out by the algorithm that is named, or by the usual one."""
        known = traffic.ALGORITHMS[self.collective]
        return known[self.algorithm] if self.algorithm else traffic.COLLECTIVES[self.collective]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes to run, in bytes, ascending."""
        return tuple(sizes_between(*self._range(), self.stepfactor, self.stepbytes, MAX_SIZES + 1))
