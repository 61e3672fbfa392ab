"""The verdict on a run: whether the network was lossless, the emulation faithful, the result right, and all held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from testbed.contract.report import Report
from testbed.plan.reach import Reach
from testbed.run.execution import Outcome
from testbed.run.fidelity import FidelityBounds, advice, judge_fidelity
from testbed.run.observed import deadlock_reasons, deadlocks_of, losses_of

INVARIANT_VIOLATED = "invariant violated"
_DEFECT = "this is a defect of the testbed: report it with run.json and the command in its `replay`"
PASSED, FAILED, UNTRUSTED = 0, 1, 4
"""Exit codes of a run that came to a verdict."""


class ResultModel(BaseModel):
    """A part of the document of a result."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", serialize_by_alias=True, validate_by_name=True, defer_build=True
    )


class Verdict(ResultModel):
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
    ideal_gbytes_per_s: float | None = None
    places: tuple[Mapping[str, Any], ...] = ()
    alone_us: Mapping[str, float | None] = field(default_factory=dict)
    flow_completion: Mapping[str, Any] | None = None
    reach: Mapping[Reach, int] | None = None
    settings: Mapping[str, Any] | None = None
    addresses: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pauses: Mapping[str, Any] | None = None
    series: Mapping[str, Any] | None = None


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
    for job in outcome.jobs:
        if job.get("wrong"):
            reasons.append(f"not correct: {job['wrong']:,} wrong elements of job {job['name']}")
    return reasons


def _conservation(report: Report) -> list[str]:
    """Check invariant 1: every frame sent was delivered, dropped, or is still under way."""
    counts = report["conservation"]
    accounted = counts["delivered"] + counts["dropped"] + counts["in_flight"]
    if counts["sent"] == accounted:
        return []
    return [f"{INVARIANT_VIOLATED}: {counts['sent']:,} frames sent, {accounted:,} delivered, dropped or in flight"]
