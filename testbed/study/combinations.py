"""One experiment under combinations of settings: a trial for each, and what became of it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.errors import TestbedError
from testbed.experiment.axes import LAB, Axis, Setting, combinations
from testbed.experiment.file import Experiment, check_axis
from testbed.lab.topology import Lab, lab_source, load_lab, with_parameters
from testbed.replay.streamed import Streamed
from testbed.run import perform
from testbed.run.execution import Outcome
from testbed.run.judgement import conclude, unknown_names, unreached
from testbed.run.provenance import Stopwatch
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.study import parallel, points, preflight
from testbed.study.document import Model, Verdict
from testbed.study.figures import Figures, figures_of, verdict_of
from testbed.study.means import Means, Missing, PointKind, carry_out
from testbed.study.points import Json


class SweepRow(Model):
    """One combination; `figures` is null if no size was completed."""

    settings: dict[str, str]
    verdict: Verdict
    reasons: list[str]
    figures: Figures | None
    event_log_hash: str | None
    replay: str


@dataclass(frozen=True)
class Combination:
    """One combination of settings: its trial, or the fault that keeps it from being one, and whether jobs run alone too."""

    settings: tuple[Setting, ...]
    trial: Trial | None
    fault: str
    replay: str
    alone: bool = False


@dataclass(frozen=True)
class Finished:
    """What became of a combination, with the series that were recorded; no result if it is invalid."""

    row: SweepRow
    result: RunResult | None
    series: bytes = b""


def combine(base: Experiment, axes: Sequence[Axis], replay: Callable[[str, list[str]], str]) -> list[Combination]:
    """Return every combination of an experiment's settings, in order.

    `replay(topology, overrides)` is the command that runs one. Raises UsageError for an axis that cannot be
    read, and for too many combinations; values that a setting cannot have are faults of their combinations.
    """
    for axis in axes:
        check_axis(axis)
    check_lab_keys(base, axes)
    return combinations_of(base, combinations(axes), replay)


def check_lab_keys(base: Experiment, axes: Sequence[Axis]) -> None:
    """Raise UsageError for a parameter or key that the lab does not have, since no combination could be run then."""
    parameters = {axis.parameter: axis.values[0] for axis in axes if axis.parameter is not None}
    if not any(axis.key == LAB for axis in axes):
        lab_source(with_parameters(base.topology, parameters))


def combinations_of(
    base: Experiment, every: Iterable[tuple[Setting, ...]], replay: Callable[[str, list[str]], str]
) -> list[Combination]:
    """Return these combinations of an experiment's settings, in order; see `combine`."""
    bare = base.model_copy(update={"sweep": None, "clock": "virtual"})
    labs: dict[str, Lab] = {}
    return [_combination(bare, settings, labs, replay) for settings in every]


def _combination(
    base: Experiment, settings: tuple[Setting, ...], labs: dict[str, Lab], replay: Callable[[str, list[str]], str]
) -> Combination:
    split = [(Axis(key, (text,)).parameter, key, text) for key, text in settings]
    parameters = {name: text for name, _, text in split if name is not None}
    overrides = [f"{key}={text}" for name, key, text in split if name is None]
    topology, fault, made = base.topology, "", None
    try:
        experiment = base.with_overrides(overrides)
        topology = with_parameters(experiment.topology, parameters)
        if topology not in labs:
            labs[topology] = load_lab(topology)
        made = Trial(experiment.model_copy(update={"topology": topology}), labs[topology])
    except TestbedError as error:
        fault = str(error)
    others = [text for text in overrides if not text.startswith("topology=")]
    return Combination(settings, made, fault, replay(topology, others))


def run_combination(combination: Combination) -> Finished:
    """Run one combination under the virtual clock; one that cannot be run is a row that says why."""
    subject = combination.trial
    if subject is None:
        return Finished(_row(combination, "invalid", combination.fault.splitlines()), None)
    watch = Stopwatch()
    try:
        preflight.check(subject)
        outcome = _run_virtual(subject)
        apart = perform.times_alone(subject, outcome, _run_virtual) if combination.alone else None
    except TestbedError as error:
        return Finished(_row(combination, "invalid", str(error).splitlines()), None)
    if outcome.interrupted:
        raise KeyboardInterrupt
    judged = conclude(subject, outcome, "virtual", 1, combination.replay, apart).of(watch.provenance())
    missed = [str(fault) for fault in [*unreached(subject, outcome), *unknown_names(subject, judged)]]
    reasons = [*judged.verdict.reasons, *missed]
    row = _row(combination, "failed" if missed else verdict_of(judged), reasons)
    ended = judged.collective.rows or judged.makespan_us or (judged.flow_completion and judged.verdict.complete)
    figures = figures_of(judged, subject) if ended else None
    return Finished(
        row.model_copy(update={"figures": figures, "event_log_hash": judged.event_log_hash}), judged, outcome.series
    )


def _run_virtual(trial: Trial) -> Outcome:
    return perform.run_virtual(trial, None, lambda _: parallel.check_interrupt())


def _row(combination: Combination, verdict: Verdict, reasons: list[str]) -> SweepRow:
    settings = dict(combination.settings)
    return SweepRow(
        settings=settings,
        verdict=verdict,
        reasons=reasons,
        figures=None,
        event_log_hash=None,
        replay=combination.replay,
    )


def _key(combination: Combination) -> str | None:
    """Return the name of the point of a combination, by its lab and settings; None for a trace that stays on disk."""
    subject = combination.trial
    assert subject is not None
    experiment = subject.experiment
    if any(isinstance(job.trace, Streamed) for job in experiment.jobs):
        return None
    spec = subject.spec()
    # By which name the lab was found is no input: what it holds is.
    spec["experiment"].pop("topology")
    timed = [("timeline", number) for number in range(len(experiment.timeline))]
    expected = [("expect", number) for number in range(len(experiment.expect))]
    # Reasons name file and line of these.
    places = [str(experiment.fault(path, "")) for path in (*timed, *expected, ("warmup",))]
    return points.key_of("run", {**spec, "places": places, "alone": combination.alone})


def _pack(finished: Finished) -> Json:
    row, result = finished.row, finished.result
    packed: dict[str, Any] = {"row": row.model_dump(mode="json", exclude={"settings", "replay"})}
    if result is not None:
        packed["result"] = result.model_dump(mode="json", exclude={"settings", "replay"})
    if finished.series:
        packed["series"] = base64.b64encode(zlib.compress(finished.series)).decode()
    return packed


def _unpack(combination: Combination, packed: Json) -> Finished:
    row = SweepRow(**packed["row"], settings=dict(combination.settings), replay=combination.replay)
    result = None
    if "result" in packed:
        assert combination.trial is not None
        whole = {**packed["result"], "settings": combination.trial.settings(), "replay": combination.replay}
        result = RunResult.model_validate_json(json.dumps(whole))
    return Finished(row, result, zlib.decompress(base64.b64decode(packed["series"])) if "series" in packed else b"")


# What this machine has no memory for, another may.
_KIND = PointKind(run_combination, _key, _pack, _unpack, lambda finished: finished.result is not None)


def run_combinations(
    work: Sequence[Combination], means: Means, progress: Callable[[int, Finished], None]
) -> dict[int, SweepRow]:
    """Run combinations and return their rows by number; `progress` is called as each is finished, in any order.

    Of a share of them there are its rows alone.
    """
    rows: dict[int, SweepRow] = {}

    def finished(number: int, outcome: Finished | parallel.Defect | Missing) -> None:
        if isinstance(outcome, parallel.Defect):
            outcome = Finished(_row(work[number], "defect", [f"internal error: {outcome.summary}"]), None)
        elif isinstance(outcome, Missing):
            outcome = Finished(_row(work[number], "missing", ["not computed yet"]), None)
        rows[number] = outcome.row
        progress(number, outcome)

    possible = [number for number, combination in enumerate(work) if combination.trial is not None]
    if means.shard is None:
        for number in set(range(len(work))) - set(possible):
            finished(number, run_combination(work[number]))
    carry_out(_KIND, [work[number] for number in possible], means, lambda place, one: finished(possible[place], one))
    return rows
