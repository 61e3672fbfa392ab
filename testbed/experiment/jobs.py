"""Jobs of an experiment: who takes part, and a program of steps that each rank goes through."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from testbed import traffic
from testbed.errors import InputError, UsageError, nearest
from testbed.lab.ranks import MAX_RANKS, RankPattern, check_pattern, expand
from testbed.replay.form import NOTHING, TraceField
from testbed.schema.fields import FileModel, Flag, Name, Priority, Size, Time
from testbed.schema.source import Source
from testbed.traffic.elements import DTYPES, REDOPS
from testbed.traffic.program import channels_of_steps

MAX_STEPS = 4096
MAX_JOBS = 1024
MAX_REPEAT = 1_000_000

_OF_COLLECTIVES = ("algorithm", "datatype", "redop", "root", "slice", "sites", "channels", "group")


def _listed(value: object) -> object:
    """Read one value where a list of them may stand."""
    return value if isinstance(value, list | tuple) else (value,)


def _number_or_patterns(value: object) -> object:
    """Read a number of ranks, or one pattern of ranks where a list of them may stand; raise ValueError for anything else."""
    if isinstance(value, int):
        if isinstance(value, bool) or not 1 <= value <= MAX_RANKS:
            raise ValueError(f"{value!r} is not a number of ranks from 1 to {MAX_RANKS}, nor ranks like s[1-8]/[0-7]")
        return value
    listed = _listed(value)
    return tuple(map(check_pattern, listed)) if isinstance(listed, list | tuple) else listed


Names = Annotated[tuple[Name, ...], BeforeValidator(_listed)]
Members = Annotated[tuple[Annotated[int, Field(strict=True, ge=0)], ...], BeforeValidator(_listed), Field(min_length=1)]


class Step(FileModel):
    """A step of a program: exactly one of `compute`, `wait`, `send` and a collective.

    Steps run in order on each rank: each begins when the one before it has finished there. Communication with an `id` runs
    beside the steps that follow, until one waits for it or the iteration ends. With `after` a step begins when these have
    finished, in place of the step before it. All groups of a step communicate at the same time, and what a step leaves out
    is as in `workload`.
    """

    id: Name | None = None
    """Name by which `wait` and `after` mean the step; left out, communication ends before what follows begins."""
    after: Names | None = None
    """Earlier steps, by name, after which the step begins; left out, the step before it."""
    compute: Time | None = None
    """Time for which every rank computes; left out, the step is another."""
    wait: Names | None = None
    """Earlier steps, by name, that must have finished before the next begins; left out, the step is another."""
    send: Size | None = None
    """Bytes that rank `from` of the job sends to rank `to`, or each of a list to its fellow; left out, the step is another."""
    from_: Members | None = Field(default=None, alias="from")
    """Ranks that send, counted within the job from 0; left out, as `send` then must be, nothing is sent."""
    to: Members | None = None
    """Ranks that receive, as many as send; left out, as `send` then must be, nothing is sent."""
    all_reduce: Size | None = Field(default=None, alias="all_reduce")
    """Bytes of an all-reduce; left out, the step is another."""
    all_gather: Size | None = Field(default=None, alias="all_gather")
    """Bytes of an all-gather, of the parts of all ranks together; left out, the step is another."""
    reduce_scatter: Size | None = Field(default=None, alias="reduce_scatter")
    """Bytes of a reduce-scatter, of the vector of each rank; left out, the step is another."""
    all_to_all: Size | None = Field(default=None, alias="all_to_all")
    """Bytes of an all-to-all, of the vector of each rank; left out, the step is another."""
    broadcast: Size | None = None
    """Bytes of a broadcast; left out, the step is another."""
    reduce: Size | None = None
    """Bytes of a reduce; left out, the step is another."""
    gather: Size | None = None
    """Bytes of a gather, of the parts of all ranks together; left out, the step is another."""
    scatter: Size | None = None
    """Bytes of a scatter, of the vector of the root; left out, the step is another."""
    sendrecv: Size | None = None
    """Bytes that every rank sends to the next; left out, the step is another."""
    incast: Size | None = None
    """Bytes that every rank but the root sends to it; left out, the step is another."""
    permutation: Size | None = None
    """Bytes that every rank sends to the one half the way around; left out, the step is another."""
    barrier: Flag = False
    """Whether no rank goes on before all have come."""
    algorithm: str | None = None
    """Algorithm of the collective; left out, its usual one."""
    datatype: str | None = None
    """Type of the elements; left out, float."""
    redop: str | None = None
    """Operation by which elements are reduced; left out, sum."""
    root: int | None = Field(default=None, strict=True, ge=0)
    """Rank of each group that is the root; left out, 0."""
    slice: Size | None = None
    """Bytes into which messages are split; left out, they stay whole."""
    sites: int | None = Field(default=None, strict=True, ge=2, le=1024)
    """Number of equal groups of ranks, of a hierarchical algorithm; left out, 2."""
    channels: int | None = Field(default=None, strict=True, ge=1, le=64)
    """Rings or trees that share the vector, as in `workload`; left out, 1."""
    group: Name | None = None
    """Process groups that communicate, by the name in `groups`; left out, all ranks of the job are one."""

    @property
    def collective(self) -> str | None:
        """The collective of the step by its name; None for other steps."""
        return next((name for name in traffic.COLLECTIVES if getattr(self, name) not in (None, False)), None)

    @property
    def size_bytes(self) -> int:
        """The size of the collective; 0 for one that has none."""
        return int(getattr(self, self.collective or "barrier"))

    @property
    def communicates(self) -> bool:
        """Whether anything is sent."""
        return self.send is not None or self.collective is not None

    @property
    def definition(self) -> traffic.Collective:
        """The collective, carried out by the algorithm that is named, or by the usual one."""
        known = traffic.ALGORITHMS[self.collective or ""]
        return known[self.algorithm] if self.algorithm else next(iter(known.values()))

    @model_validator(mode="after")
    def _agrees(self) -> Step:
        collectives = [name for name in traffic.COLLECTIVES if getattr(self, name) not in (None, False)]
        said = [name for name in ("compute", "wait", "send") if getattr(self, name) is not None] + collectives
        if len(said) != 1:
            raise ValueError(
                f"a step is one of compute, wait, send and a collective, and this one has {said or 'none'}"
            )
        if (self.send is not None) != (self.from_ is not None) or (self.send is not None) != (self.to is not None):
            raise ValueError("a send has `from` and `to`, and no other step has")
        if self.from_ is not None and self.to is not None:
            _check_transfers(self.from_, self.to)
        if self.wait is not None and self.after is not None:
            raise ValueError("`wait` waits for the step before it too; give no `after`")
        if not collectives:
            idle = [name for name in _OF_COLLECTIVES if getattr(self, name) is not None]
            if idle:
                raise ValueError(f"{idle[0]} is of collectives, and the step is a {said[0]}")
        else:
            self._check_collective(collectives[0])
        return self

    def _check_collective(self, name: str) -> None:
        known = traffic.ALGORITHMS[name]
        if self.algorithm is not None and self.algorithm not in known:
            raise ValueError(f'{name} has no algorithm "{self.algorithm}"{nearest(self.algorithm, known)}')
        if self.datatype is not None and self.datatype not in DTYPES:
            raise ValueError(f'no datatype is called "{self.datatype}"{nearest(self.datatype, DTYPES)}')
        if self.redop is not None and self.redop not in REDOPS:
            raise ValueError(f'no redop is called "{self.redop}"{nearest(self.redop, REDOPS)}')
        if self.channels is not None and self.channels > 1 and not self.definition.channels:
            raise ValueError(f"channels are for rings and trees; {name} has none by {self.definition.algorithm}")


def _check_transfers(senders: Sequence[int], receivers: Sequence[int]) -> None:
    if len(senders) != len(receivers):
        raise ValueError(f"{len(senders)} ranks send and {len(receivers)} receive")
    if any(sender == receiver for sender, receiver in zip(senders, receivers, strict=True)):
        raise ValueError("a rank does not send to itself")


class Groups(FileModel):
    """Process groups of a job: listed, or made of its ranks by a rule, exactly one of which is given."""

    size: int | None = Field(default=None, strict=True, ge=1)
    """Ranks of a group that follow one another; left out, another rule makes the groups."""
    stride: int | None = Field(default=None, strict=True, ge=1)
    """Distance of the ranks of a group; those as far behind a multiple of it are one; left out, another rule makes them."""
    members: tuple[Members, ...] | None = None
    """The groups, each a list of ranks counted within the job from 0; left out, another rule makes them."""

    @model_validator(mode="after")
    def _agrees(self) -> Groups:
        if sum(rule is not None for rule in (self.size, self.stride, self.members)) != 1:
            raise ValueError("groups have one of size, stride and members")
        listed = [member for group in self.members or () for member in group]
        if len(set(listed)) != len(listed):
            raise ValueError("a rank is in two groups, or twice in one")
        return self

    def of(self, ranks: int) -> list[tuple[int, ...]]:
        """Return the groups among so many ranks; raises ValueError for those that these do not make."""
        if self.members is not None:
            outside = [member for group in self.members for member in group if member >= ranks]
            if outside:
                raise ValueError(f"rank {outside[0]} is none of {ranks}, which count from 0")
            return list(self.members)
        unit = self.size or self.stride or 1
        if ranks % unit:
            raise ValueError(f"{ranks} ranks do not make equal groups by {unit}")
        if self.stride is not None:
            return [tuple(range(first, ranks, unit)) for first in range(unit)]
        return [tuple(range(first, first + unit)) for first in range(0, ranks, unit)]


class Job(FileModel):
    """A job: ranks, and a program or a trace that each of them goes through `repeat` times.

    Several jobs run at once, each with connections of its own; on one accelerator they do not wait for each other. NICs serve
    the priorities of their jobs in turn, and a pause of one holds up no other.
    """

    name: Name
    """Name of the job, by which results mean it."""
    ranks: Annotated[
        Annotated[int, Field(ge=1, le=MAX_RANKS)] | tuple[RankPattern, ...], BeforeValidator(_number_or_patterns)
    ] = ()
    """Ranks in their order, `h1`, `h1/3` or patterns like `s[1-8]/[0-7]`, or how many to place; left out, all of the lab, or
    as many as a trace has."""
    place: str | None = None
    """Policy that places the job, shifts its start or gives it a priority; left out, that of `placement`."""
    start: Time = 0
    """Time after the start of the run at which the job begins; left out, at once."""
    priority: Priority | None = None
    """Priority that the job travels on, which all switches must keep lossless; left out, `lossless.priority`."""
    payload: Flag = False
    """Whether data travels and what it comes to is compared, step by step and iteration by iteration; left out, lengths alone."""
    repeat: int = Field(default=1, strict=True, ge=1, le=MAX_REPEAT)
    """Times that the program is run, one iteration after the other; left out, once."""
    groups: dict[Name, Groups] = Field(default_factory=dict)
    """Process groups by name, for `group` of a step; left out, there are none."""
    program: tuple[Step, ...] = Field(default=(), min_length=1, max_length=MAX_STEPS)
    """Steps of an iteration, in order; left out, `trace` says what an iteration is."""
    trace: TraceField | None = None
    """Name of a file beside the experiment file that an application or another tool has written, as `testbed replay` reads
    it; left out, there is a program."""

    @model_validator(mode="after")
    def _agrees(self) -> Job:
        if bool(self.program) == (self.trace is not None):
            raise ValueError("a job has a program or a trace")
        if self.payload and self.trace is not None:
            raise ValueError("of a trace only lengths travel; leave out `payload`")
        channels_of_steps(self.channels)
        known: list[str] = []
        for number, step in enumerate(self.program):
            for name in (*(step.after or ()), *(step.wait or ())):
                if name not in known:
                    raise ValueError(f'program[{number}]: no earlier step has the id "{name}"{nearest(name, known)}')
            if step.id is not None:
                if step.id in known:
                    raise ValueError(f'program[{number}]: the id "{step.id}" is given twice')
                known.append(step.id)
            if step.group is not None and step.group not in self.groups:
                raise ValueError(
                    f'program[{number}]: no group is called "{step.group}"{nearest(step.group, self.groups)}'
                )
        named = [rank for pattern in self.listed for rank in expand(pattern)]
        if len(set(named)) != len(named):
            raise ValueError("a rank is listed twice")
        return self

    @property
    def channels(self) -> list[tuple[bool, int]]:
        """Of each step whether it runs beside the others, and its channels."""
        return [(step.id is not None and step.communicates, step.channels or 1) for step in self.program]

    @property
    def rings(self) -> dict[int, int]:
        """Which ring or tree a channel of the job is for; none where no step has several."""
        if all(count == 1 for _, count in self.channels):
            return {}
        return {channel: ring for each in channels_of_steps(self.channels) for ring, channel in enumerate(each)}

    @property
    def asked(self) -> int | None:
        """How many ranks are to be placed; None where they are listed, or all of the lab."""
        return self.ranks if isinstance(self.ranks, int) else None

    @property
    def listed(self) -> tuple[str, ...]:
        """The patterns of ranks that are listed; none where a number is to be placed, or all of the lab take part."""
        return () if isinstance(self.ranks, int) else self.ranks


def check_names(jobs: tuple[Job, ...]) -> tuple[Job, ...]:
    """Return jobs whose names differ; raise ValueError for others."""
    names = [job.name for job in jobs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f'two jobs are called "{twice}"')
    return jobs


Jobs = Annotated[tuple[Job, ...], Field(max_length=MAX_JOBS)]
Document = dict[str, Any]


def inline(source: Source, directory: Path) -> None:
    """Replace the names of traces in the jobs of an experiment's data by what stands in them; note faults.

    A name leads to a file in `directory`, where the experiment file is, or below; never out of it.
    """
    jobs = source.data.get("jobs") if isinstance(source.data, dict) else None
    for number, job in enumerate(jobs if isinstance(jobs, list) else ()):
        name = job.get("trace") if isinstance(job, dict) else None
        if not isinstance(name, str):
            continue
        # Faulty as it is, it must not cause a second fault where the models read it.
        job["trace"] = NOTHING
        home = directory.resolve()
        path = None if "\0" in name else Path(os.path.realpath(home / name))
        if path is None or not path.is_relative_to(home) or not os.path.isfile(path):
            source.fault(("jobs", number, "trace"), f"{name} is not a file in the directory of the experiment file")
            continue
        from testbed.replay.reading import read_traces

        try:
            (reading,) = read_traces([path])
        except InputError as error:
            source.faults += error.faults
        except UsageError as error:
            source.fault(("jobs", number, "trace"), str(error))
        else:
            job["trace"] = reading.trace
