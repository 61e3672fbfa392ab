"""The result of a run: run.json, and the exit code that follows from its verdict.

All quantities are nominal, with the unit in the key. Wall-clock time is in `provenance` alone: without it two runs of one
seed under the virtual clock are equal.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from testbed.contract.report import Report
from testbed.errors import Fault, InputError, UsageError
from testbed.experiment.expectations import Outcome as Checked
from testbed.files import write_whole
from testbed.run.counters import PortCounters, Settled, TotalDrops
from testbed.run.execution import Outcome
from testbed.run.flow_result import FlowCompletion
from testbed.run.job_result import JobResult
from testbed.run.job_times import makespan_us
from testbed.run.layout import laid_out
from testbed.run.observed import Deadlock, Observed, StormFound, WatchdogSettings, Watermarks, deadlocks_of
from testbed.run.pauses import PauseGraph
from testbed.run.provenance import Address, CheckedExpectation, Provenance, Settings
from testbed.run.verdict import FAILED, PASSED, UNTRUSTED, ResultModel, RunFacts, Verdict, judge
from testbed.run.versions import versions

FILE_NAME = "run.json"
SCHEMA = 1
"""The version of run.json that is written and read."""


# Options that a replay goes without: with a value, and without one.
_OF_MEANS = ("--out", "--cache", "--shard", "--scheduler")
_FLAGS = ("--force", "--no-cache", "--collect")


class Measurement(ResultModel):
    """One time, mean over the iterations; `wrong` is null where lengths were sent, and nothing could be compared.

    `percent_of_ideal` is what busbw is of the rate of the slowest port of a host, headers included; null where a collective
    has no size.

    The time is that of nccl-tests: from the start of all ranks until the last one has finished, which is when it has its
    result and the last of its sends is acknowledged.
    """

    time_us: float
    algbw_gbytes_per_s: float
    busbw_gbytes_per_s: float
    wrong: int | None
    percent_of_ideal: float | None = None


class Row(Measurement):
    """One size of a collective, out of place, and in place where the collective can; `root` is -1 where there is none."""

    size_bytes: int
    count: int
    type: str
    redop: str
    root: int = -1
    in_place: Measurement | None = None


class CollectiveResult(ResultModel):
    """What was run, and its rows."""

    name: str
    algorithm: str
    ranks: int
    root: int = -1
    rows: list[Row]


class RankPlace(ResultModel):
    """Where a rank runs: its host and the port of it; `domain` is null where the lab names none, `site` where there is one."""

    rank: int
    host: str
    port: str
    domain: str | None = None
    site: str | None = None


class BytesByReach(ResultModel):
    """Bytes that ranks of jobs sent: within a host by memory, within a scale-up domain, over one switch, several, to a site."""

    host: int
    domain: int
    leaf: int
    spine: int
    site: int


class Flow(Observed):
    """All messages from one node to another in one row, over all its iterations; those in place are flows of their own.

    `start_ns` is when the first message was posted, `completion_ns` when the last byte of the last one had arrived, null
    if it did not: two instants, counted from the start of the first workload. `duration_ns` is what lay between the two,
    added up over `iterations`. The sender hears of it one acknowledgement later: a row's time waits for that, a flow's
    does not.
    """

    undeclared = frozenset({"size_bytes"})

    src: str
    dst: str
    bytes: int
    in_place: bool = False
    iterations: int = 1
    start_ns: int | float
    completion_ns: int | float | None
    duration_ns: int | float | None = None
    goodput_bps: int | float


class Impaired(ResultModel):
    """A change of what the port `link` sends to the port `to`; times since the start of the first workload.

    `at_ns` is when it took place, null if the run ended before. `set` has what changed, and `loss` null there says that
    nothing is lost any more.
    """

    link: str
    to: str
    asked_ns: float
    at_ns: float | None
    set: dict[str, Any]
    label: str = ""


class WithoutEffect(ResultModel):
    """A setting that had no effect, by its key, and why."""

    key: str
    text: str


class BufferDependencies(ResultModel):
    """Ports whose buffers the workload's routes could make wait for each other, each for the next in its list."""

    cycles: list[list[str]] = Field(default_factory=list)


class RecordedSeries(ResultModel):
    """Series that were recorded: a file beside run.json, which `testbed.timeseries.read` reads.

    `asked` is the period asked for; `period_ns` is longer where a run came to more points, or more changes, than are kept. The
    first of `points` is the start of the first workload. `rows` is how many changes all `series` have; a value holds until
    the next. `quantities` says what each that was recorded means.
    """

    file: str
    format: Literal["parquet", "npz"]
    asked: str
    period_ns: float
    points: int
    series: int
    rows: int
    quantities: dict[str, str]


class RunResult(ResultModel):
    """The document run.json: of one run, whatever else its lab has seen, and of all workloads of that run."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    lab: str
    seed: int
    clock: Literal["virtual", "real"]
    dilation: int
    versions: dict[str, str]
    replay: str
    verdict: Verdict
    event_log_hash: str | None
    collective: CollectiveResult
    ranks: list[RankPlace] = Field(default_factory=list)
    jobs: list[JobResult] = Field(default_factory=list)
    makespan_us: float | None = None
    bytes_by_reach: BytesByReach | None = None
    flow_completion: FlowCompletion | None = None
    flows: list[Flow]
    ports: dict[str, PortCounters]
    pools: dict[str, Watermarks] = Field(default_factory=dict)
    settled: Settled | None = None
    watchdog: list[StormFound] = Field(default_factory=list)
    watchdog_settings: dict[str, WatchdogSettings] = Field(default_factory=dict)
    qps: list[dict[str, Any]]
    drops: TotalDrops
    deadlocks: list[Deadlock] = Field(default_factory=list)
    pauses: PauseGraph | None = Field(default=None, description="who paused whom, and why; null: not recorded")
    impairments: list[Impaired] = Field(default_factory=list)
    fidelity: dict[str, Any] | None
    energy: dict[str, Any] = Field(default_factory=dict)
    buffer_dependencies: BufferDependencies = BufferDependencies.model_construct()
    in_force: dict[str, Any] = Field(default_factory=dict)
    links: list[dict[str, Any]] = Field(default_factory=list)
    hints: list[WithoutEffect] = Field(default_factory=list)
    expectations: list[CheckedExpectation] = Field(
        default_factory=list, description="what the experiment expects, and whether it held"
    )
    settings: Settings | None = Field(default=None, description="the whole lab and experiment")
    addresses: dict[str, Address] = Field(default_factory=dict, description="addresses of NICs, by port")
    provenance: Provenance | None = Field(
        default=None, description="date, machine and wall time; null in results of older versions"
    )
    time_series: RecordedSeries | None = Field(
        default=None, description="series that were recorded, in a file beside this one; null without `--series`"
    )

    @property
    def exit_code(self) -> int:
        """Return 4 if the emulation was not faithful, whatever the traffic did; else 0 if all held, or 1."""
        if not self.verdict.trusted:
            return UNTRUSTED
        return PASSED if self.verdict.passed else FAILED

    def of(self, provenance: Provenance) -> RunResult:
        """Return this result with when and where it was made."""
        return self.model_copy(update={"provenance": provenance})

    def to_json(self) -> str:
        """Return the document as text, one key a line."""
        return laid_out(self.model_dump(mode="json"))


def assemble(facts: RunFacts, outcome: Outcome, checks: Sequence[Checked] = ()) -> RunResult:
    """Judge an outcome and return the document.

    `checks` are the expectations, checked. Raises KeyError or pydantic.ValidationError if the engine's report lacks what
    docs/internals/engine.md promises.
    """
    report = outcome.report
    return RunResult(
        lab=facts.lab,
        seed=facts.seed,
        clock=facts.clock,
        dilation=facts.dilation,
        versions=versions(),
        replay=facts.replay,
        verdict=judge(facts, outcome, [check.explanation for check in checks if not check.held]),
        event_log_hash=report["event_log_hash"],
        collective=CollectiveResult(
            name=facts.collective,
            algorithm=facts.algorithm,
            ranks=facts.ranks,
            root=facts.root,
            rows=[_row(row, facts.ideal_gbytes_per_s) for row in outcome.rows],
        ),
        ranks=[RankPlace.model_validate(place) for place in facts.places],
        jobs=[_job(row, facts.alone_us.get(row["name"])) for row in outcome.jobs],
        makespan_us=makespan_us(outcome.jobs),
        bytes_by_reach=None if facts.reach is None else BytesByReach.model_validate(facts.reach),
        flow_completion=None if facts.flow_completion is None else FlowCompletion.model_validate(facts.flow_completion),
        flows=[Flow.model_validate(flow) for flow in outcome.flows],
        ports={name: PortCounters.model_validate(port) for name, port in report["ports"].items()},
        pools={name: Watermarks.model_validate(marks) for name, marks in report.get("pools", {}).items()},
        settled=None if report.get("settled") is None else Settled.model_validate(report["settled"]),
        watchdog=[StormFound.model_validate(row) for row in outcome.storms],
        watchdog_settings=dict(facts.watchdogs),
        qps=[dict(row) for row in report["qps"]],
        drops=TotalDrops.model_validate(report["drops"]),
        deadlocks=deadlocks_of(report, outcome.start_ps),
        pauses=None if facts.pauses is None else PauseGraph.model_validate(facts.pauses),
        impairments=[Impaired.model_validate(row) for row in outcome.impairments],
        fidelity=_fidelity(report),
        energy=dict(facts.energy),
        buffer_dependencies=BufferDependencies(cycles=[list(ports) for ports in facts.buffer_cycles]),
        in_force=dict(facts.in_force),
        links=[dict(link) for link in facts.links],
        hints=[WithoutEffect.model_validate(hint) for hint in facts.hints],
        expectations=[CheckedExpectation(**dataclasses.asdict(check)) for check in checks],
        settings=None if facts.settings is None else Settings.model_validate(facts.settings),
        addresses={port: Address.model_validate(address) for port, address in facts.addresses.items()},
        time_series=None if facts.series is None else RecordedSeries.model_validate(facts.series),
    )


def _fidelity(report: Report) -> dict[str, Any] | None:
    """Return how true to the network a run was: to wall time, or, where recurring periods were skipped, to an exact run."""
    if (fast := report.get("fast")) is not None:
        return {
            "fast_forward": {**fast, "share_of_frame_hops": fast["skipped_frame_hops"] / max(1, report["frame_hops"])}
        }
    return None if report["fidelity"] is None else dict(report["fidelity"])


def _row(row: dict[str, Any], ideal_gbytes_per_s: float | None) -> Row:
    """Return a row with what it is of the ideal, in place too."""

    def with_percent(measured: dict[str, Any]) -> dict[str, Any]:
        if not ideal_gbytes_per_s:
            return measured
        return {**measured, "percent_of_ideal": 100 * measured["busbw_gbytes_per_s"] / ideal_gbytes_per_s}

    in_place = row["in_place"] and with_percent(row["in_place"])
    return Row.model_validate({**with_percent(row), "in_place": in_place})


def _job(row: dict[str, Any], alone_us: float | None) -> JobResult:
    """Return what a job did, beside how long it took alone."""
    slowdown = None
    if alone_us and row["end_us"] is not None:
        slowdown = (row["end_us"] - row["start_us"]) / alone_us
    return JobResult.model_validate({**row, "alone_us": alone_us, "slowdown": slowdown})


def replay_command(arguments: Sequence[str], seed: int) -> str:
    """Return the shell command that repeats a run: its arguments, and the seed if they named none.

    Where the result went is left out, lest the command be refused for the files that are there, and so is by what means it came
    about, which changes nothing of it.
    """
    named = any(argument == "--seed" or argument.startswith("--seed=") for argument in arguments)
    kept = [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if before not in _OF_MEANS
        and argument not in (*_OF_MEANS, *_FLAGS)
        and argument.partition("=")[0] not in _OF_MEANS
    ]
    return shlex.join(["testbed", *kept, *([] if named else ["--seed", str(seed)])])


def write(result: RunResult, directory: Path) -> Path:
    """Write run.json into a directory, made if absent, and return its path; see `write_text`."""
    return write_text(result.to_json(), directory, FILE_NAME)


def write_text(text: str, directory: Path, name: str) -> Path:
    """Write a text into a directory; see `write_bytes`."""
    return write_bytes(text.encode(), directory, name)


def write_bytes(content: bytes, directory: Path, name: str) -> Path:
    """Write a document into a directory, made if absent, and return its path.

    The file appears whole or not at all, and replaces an older one; see `files.write_whole`.
    """
    return write_whole(directory / name, lambda file: file.write(content))


def read(path: Path) -> RunResult:
    """Read run.json from a file or from the directory that holds it.

    Raises UsageError if it cannot be read, and InputError naming every key that is not as it should be.
    """
    source = path / FILE_NAME if os.path.isdir(path) else path
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {source}: {error}") from error
    try:
        _check_schema(source, text)
        return RunResult.model_validate_json(text)
    except ValidationError as error:
        raise InputError(
            Fault(str(source), 0, ".".join(str(part) for part in detail["loc"]), detail["msg"])
            for detail in error.errors()
        ) from error


def schema() -> dict[str, Any]:
    """Return the JSON Schema of run.json."""
    return RunResult.model_json_schema(mode="serialization", by_alias=True)


def _check_schema(source: Path, text: str) -> None:
    """Raise InputError for a document of another schema, whose keys would be as many faults."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError([Fault(str(source), 0, "", f"not JSON: {error}")]) from None
    version = document.get("schema") if isinstance(document, dict) else None
    if type(version) is not int or version != SCHEMA:
        what = "no schema: not a run.json" if version is None else f"schema {json.dumps(version)}"
        raise InputError([Fault(str(source), 0, "schema", f"{what}; this version of testbed reads schema {SCHEMA}")])
