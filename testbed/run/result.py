"""The result of a run: run.json, its verdict, and the exit code that follows from it.

All quantities are nominal, with the unit in the key. The document holds no wall-clock time, so that two runs of one
seed under the virtual clock can be compared as files.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from testbed.errors import Fault, InputError, UsageError, cannot_write
from testbed.run.counters import PortCounters, Settled, TotalDrops
from testbed.run.execution import Outcome
from testbed.run.fidelity import FidelityBounds as FidelityBounds
from testbed.run.fidelity import advice
from testbed.run.fidelity import judge_fidelity as judge_fidelity
from testbed.run.observed import (
    Deadlock,
    Observed,
    StormFound,
    WatchdogSettings,
    Watermarks,
    deadlock_reasons,
    deadlocks_of,
    losses_of,
)

FILE_NAME = "run.json"
INVARIANT_VIOLATED = "invariant violated"
_DEFECT = "this is a defect of the testbed: report it with run.json and the command in its `replay`"

PASSED, FAILED, UNTRUSTED = 0, 1, 4
"""Exit codes of a run that came to a verdict."""


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", serialize_by_alias=True, validate_by_name=True, defer_build=True
    )


class Verdict(_Model):
    """Whether the network was lossless, the emulation faithful, the result right, and all that was asked for held."""

    lossless: bool
    trusted: bool
    correct: bool
    complete: bool
    deadlock: bool
    passed: bool
    reasons: list[str]
    advice: str = ""
    """What to do about a run that cannot be trusted."""

    @model_validator(mode="after")
    def _trusts_no_broken_invariant(self) -> Self:
        if self.trusted and any(reason.startswith(INVARIANT_VIOLATED) for reason in self.reasons):
            raise ValueError(f"trusted, and yet {INVARIANT_VIOLATED}")
        return self


class Measurement(_Model):
    """One time, mean over the iterations; `wrong` is null where lengths were sent, and nothing could be compared.

    The time is that of nccl-tests: from the start of all ranks until the last one has finished, which is when it has its
    result and the last of its sends is acknowledged.
    """

    time_us: float
    algbw_gbytes_per_s: float
    busbw_gbytes_per_s: float
    wrong: int | None


class Row(Measurement):
    """One size of a collective, out of place, and in place where the collective can."""

    size_bytes: int
    count: int
    type: str
    redop: str
    in_place: Measurement | None = None


class CollectiveResult(_Model):
    """What was run, and its rows."""

    name: str
    algorithm: str
    ranks: int
    root: int = -1
    rows: list[Row]


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


class Impaired(_Model):
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


class WithoutEffect(_Model):
    """A setting that had no effect, by its key, and why."""

    key: str
    text: str


class BufferDependencies(_Model):
    """Ports whose buffers the workload's routes could make wait for each other, each for the next in its list."""

    cycles: list[list[str]] = Field(default_factory=list)


class RunResult(_Model):
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
    flows: list[Flow]
    ports: dict[str, PortCounters]
    pools: dict[str, Watermarks] = Field(default_factory=dict)
    settled: Settled | None = None
    watchdog: list[StormFound] = Field(default_factory=list)
    watchdog_settings: dict[str, WatchdogSettings] = Field(default_factory=dict)
    qps: list[dict[str, Any]]
    drops: TotalDrops
    deadlocks: list[Deadlock] = Field(default_factory=list)
    impairments: list[Impaired] = Field(default_factory=list)
    fidelity: dict[str, Any] | None
    energy: dict[str, Any] = Field(default_factory=dict)
    buffer_dependencies: BufferDependencies = BufferDependencies()
    in_force: dict[str, Any] = Field(default_factory=dict)
    links: list[dict[str, Any]] = Field(default_factory=list)
    hints: list[WithoutEffect] = Field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Return 4 if the emulation was not faithful, whatever the traffic did; else 0 if all held, or 1."""
        if not self.verdict.trusted:
            return UNTRUSTED
        return PASSED if self.verdict.passed else FAILED

    def to_json(self) -> str:
        """Return the document as text, one key a line."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a result says of the run apart from what the engine saw."""

    lab: str
    seed: int
    clock: Literal["virtual", "real"]
    dilation: int
    replay: str
    collective: str
    algorithm: str
    ranks: int
    root: int = -1
    lossless: tuple[int, ...] = (3, 4)
    bounds: FidelityBounds = field(default_factory=FidelityBounds)
    energy: Mapping[str, Any] = field(default_factory=dict)
    watchdogs: Mapping[str, Any] = field(default_factory=dict)
    buffer_cycles: tuple[tuple[str, ...], ...] = ()
    in_force: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[Mapping[str, Any], ...] = ()
    hints: tuple[Mapping[str, str], ...] = ()


def assemble(facts: RunFacts, outcome: Outcome, failed_expectations: Sequence[str] = ()) -> RunResult:
    """Judge an outcome and return the document.

    `failed_expectations` has one line for each that did not hold. Raises KeyError or pydantic.ValidationError if the
    engine's report lacks what docs/internals/engine.md promises.
    """
    report = outcome.report
    return RunResult(
        lab=facts.lab,
        seed=facts.seed,
        clock=facts.clock,
        dilation=facts.dilation,
        versions=versions(),
        replay=facts.replay,
        verdict=judge(facts, outcome, failed_expectations),
        event_log_hash=report["event_log_hash"],
        collective=CollectiveResult(
            name=facts.collective,
            algorithm=facts.algorithm,
            ranks=facts.ranks,
            root=facts.root,
            rows=[Row.model_validate(row) for row in outcome.rows],
        ),
        flows=[Flow.model_validate(flow) for flow in outcome.flows],
        ports={name: PortCounters.model_validate(port) for name, port in report["ports"].items()},
        pools={name: Watermarks.model_validate(marks) for name, marks in report.get("pools", {}).items()},
        settled=None if report.get("settled") is None else Settled.model_validate(report["settled"]),
        watchdog=[StormFound.model_validate(row) for row in outcome.storms],
        watchdog_settings=dict(facts.watchdogs),
        qps=report["qps"],
        drops=TotalDrops.model_validate(report["drops"]),
        deadlocks=deadlocks_of(report, outcome.start_ps),
        impairments=[Impaired.model_validate(row) for row in outcome.impairments],
        fidelity=report["fidelity"],
        energy=dict(facts.energy),
        buffer_dependencies=BufferDependencies(cycles=[list(ports) for ports in facts.buffer_cycles]),
        in_force=dict(facts.in_force),
        links=[dict(link) for link in facts.links],
        hints=[WithoutEffect.model_validate(hint) for hint in facts.hints],
    )


def judge(facts: RunFacts, outcome: Outcome, failed_expectations: Sequence[str] = ()) -> Verdict:
    """Return the verdict on an outcome; `reasons` names everything that keeps it from passing.

    A run that did not complete is not correct, whatever was right until then.
    """
    report = outcome.report
    distrust = judge_fidelity(report["fidelity"], facts.bounds) if facts.clock == "real" else []
    losses = losses_of(report, facts.lossless)
    wrong = _wrong(outcome)
    broken = [f"{INVARIANT_VIOLATED}: {text}" for text in report["violations"]] + _conservation(report)
    stuck = deadlock_reasons(deadlocks_of(report, outcome.start_ps))
    expectations = [f"expectation failed: {text}" for text in failed_expectations]
    faults = [*broken, *losses, *wrong, *stuck, *outcome.reasons, *expectations]
    return Verdict(
        lossless=not losses,
        # An emulation that breaks a law of its own is not to be believed in anything else.
        trusted=not distrust and not broken,
        correct=outcome.complete and not wrong,
        complete=outcome.complete,
        deadlock=bool(stuck),
        passed=outcome.complete and not faults and not distrust,
        reasons=[*distrust, *faults],
        advice=advice(facts.dilation, report["fidelity"], facts.bounds) if distrust else _DEFECT if broken else "",
    )


def _wrong(outcome: Outcome) -> list[str]:
    reasons = []
    for row in outcome.rows:
        for measured, how in ((row, ""), (row["in_place"], ", in place")):
            if measured and measured["wrong"]:
                reasons.append(f"not correct: {measured['wrong']:,} wrong elements at {row['size_bytes']} bytes{how}")
    return reasons


def _conservation(report: Mapping[str, Any]) -> list[str]:
    """Check invariant 1: every frame sent was delivered, dropped, or is still under way."""
    counts = report["conservation"]
    accounted = counts["delivered"] + counts["dropped"] + counts["in_flight"]
    if counts["sent"] == accounted:
        return []
    return [f"{INVARIANT_VIOLATED}: {counts['sent']:,} frames sent, {accounted:,} delivered, dropped or in flight"]


def versions() -> dict[str, str]:
    """Return the versions of the testbed, Python and the kernel."""
    try:
        own = metadata.version("lossless-testbed")
    except metadata.PackageNotFoundError:
        own = "not installed"
    return {"testbed": own, "python": platform.python_version(), "kernel": f"{platform.system()} {platform.release()}"}


def replay_command(arguments: Sequence[str], seed: int) -> str:
    """Return the shell command that repeats a run: its arguments, and the seed if they named none.

    Where the result went is left out, lest the command be refused for the files that are there.
    """
    named = any(argument == "--seed" or argument.startswith("--seed=") for argument in arguments)
    kept = [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if before != "--out" and argument not in ("--out", "--force") and not argument.startswith("--out=")
    ]
    return shlex.join(["testbed", *kept, *([] if named else ["--seed", str(seed)])])


def write(result: RunResult, directory: Path) -> Path:
    """Write run.json into a directory, made if absent, and return its path; see `write_text`."""
    return write_text(result.to_json(), directory, FILE_NAME)


def write_text(text: str, directory: Path, name: str) -> Path:
    """Write a document into a directory, made if absent, and return its path.

    The file appears whole or not at all, and replaces an older one. Raises what `errors.cannot_write` makes of a failure.
    """
    target = directory / name
    draft = directory / f".{name}.{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error
    return target


def read(path: Path) -> RunResult:
    """Read run.json from a file or from the directory that holds it.

    Raises UsageError if it cannot be read, and InputError naming every key that is not as it should be.
    """
    source = path / FILE_NAME if path.is_dir() else path
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {source}: {error}") from error
    try:
        return RunResult.model_validate_json(text)
    except ValidationError as error:
        raise InputError(
            Fault(str(source), 0, ".".join(str(part) for part in detail["loc"]), detail["msg"])
            for detail in error.errors()
        ) from error
