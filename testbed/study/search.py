"""Searches: the best value of a setting, or of several, under which conditions hold.

One setting that is itself to be least, or greatest, is found by bisection, which takes for granted that the condition holds from
some value on. What was seen to the contrary is said. Anything else is searched by optuna, seeded. Either way each probe is a
point like those of a sweep, kept and computed by the same means; which probes are made does not depend on how many run at once.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from testbed.errors import HostError, UsageError
from testbed.experiment import expectations
from testbed.experiment.axes import Axis, Setting
from testbed.experiment.expectations import ExpectationSyntaxError
from testbed.experiment.file import Experiment, check_setting
from testbed.plan.compile import ideal_busbw
from testbed.run import expectation_names
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.study.combinations import Finished, check_lab_keys, combinations_of, run_combinations
from testbed.study.document import HELD, Document, Model, Verdict
from testbed.study.means import Means
from testbed.study.ranges import Range

Direction = Literal["minimise", "maximise"]

_SIDE_BY_SIDE = 4
"""So many trials are drawn at once, however many run at a time: what is drawn next depends on those that have ended."""
_FIRST_PROBES = 4


class Probe(Model):
    """One setting of what is searched: whether the conditions held there, and what the objective came to, null if nothing."""

    settings: dict[str, str]
    holds: bool
    objective: float | None
    verdict: Verdict
    reasons: list[str]
    event_log_hash: str | None
    replay: str


class SearchResult(Document):
    """The document search.json: the probes in their order; `best` counts from 0, and is null if the conditions held nowhere."""

    method: Literal["bisection", "optuna"]
    direction: Direction
    objective: str
    subject_to: list[str]
    between: dict[str, dict[str, str]]
    over: dict[str, list[str]]
    probes: list[Probe]
    best: int | None
    notes: list[str]

    @property
    def exit_code(self) -> int:
        """Return 0 if there is a best one, 3 after a defect, else 1."""
        if any(probe.verdict == "defect" for probe in self.probes):
            return HostError.exit_code
        return 1 if self.best is None else 0


@dataclass(frozen=True)
class Aim:
    """What is searched: an objective that is least or greatest within ranges and lists of values, subject to conditions.

    The objective is the key of the one range, or an expression over the result.
    """

    direction: Direction
    objective: str
    subject_to: Sequence[str]
    ranges: Sequence[Range]
    over: Sequence[Axis] = ()

    @property
    def by_bisection(self) -> bool:
        """Return whether the objective is the only setting that varies."""
        return not self.over and [each.key for each in self.ranges] == [self.objective]

    def check(self, trial: Trial) -> None:
        """Raise UsageError for an expression that is none, and for names that no result of this trial has."""
        texts = list(self.subject_to)
        try:
            for text in texts:
                expectations.parse(text)
            if self.objective not in [each.key for each in self.ranges]:
                expectations.parse_sum(self.objective)
                texts.append(f"{self.objective} == 0")
        except ExpectationSyntaxError as error:
            raise UsageError(f"--{self.direction} or --subject-to: {error}") from None
        asked = trial.experiment.model_copy(update={"expect": tuple(texts)})
        for fault in expectation_names.faults(asked, trial.lab):
            raise UsageError(f"--{self.direction} or --subject-to: {fault.message}")


@dataclass
class Prober:
    """Runs probes and keeps what came of them, in the order in which they were asked for."""

    base: Experiment
    aim: Aim
    means: Means
    replay: Callable[[str, list[str]], str]
    probes: list[Probe] = field(default_factory=list)

    def run(self, settings: Sequence[tuple[Setting, ...]]) -> list[Probe]:
        """Return the probes of some settings, side by side, in their order."""
        work = combinations_of(self.base, settings, self.replay)
        finished: dict[int, Finished] = {}
        run_combinations(work, self.means, finished.__setitem__)
        probes = [self._probe(finished[number], work[number].trial) for number in range(len(work))]
        self.probes += probes
        return probes

    def _probe(self, finished: Finished, trial: Trial | None) -> Probe:
        row, result = finished.row, finished.result
        reasons, objective, holds = list(row.reasons), None, row.verdict in HELD
        if result is not None and trial is not None:
            document, figures = result.model_dump(mode="json"), figures_in(result, trial)
            failed = [
                check for check in expectations.check_all(self.aim.subject_to, document, figures) if not check.held
            ]
            reasons = [*(check.explanation for check in failed), *reasons]
            # Without conditions of the search's own those of the experiment and of any lossless network count.
            holds = holds and not failed and (bool(self.aim.subject_to) or row.verdict == "passed")
            objective = self._objective(row.settings, document, figures)
        return Probe(
            settings=row.settings,
            holds=holds,
            objective=objective,
            verdict=row.verdict,
            reasons=reasons,
            event_log_hash=row.event_log_hash,
            replay=row.replay,
        )

    def _objective(
        self, settings: Mapping[str, str], document: Mapping[str, Any], figures: Mapping[str, float]
    ) -> float | None:
        searched = next((each for each in self.aim.ranges if each.key == self.aim.objective), None)
        if searched is not None:
            return float(searched.unit.read(settings[searched.key]))
        measured = expectations.value_of(self.aim.objective, document, figures)
        return float(measured) if isinstance(measured, int | float) else None


def figures_in(result: RunResult, trial: Trial) -> dict[str, float]:
    """Return what conditions may name besides the document: `expectation_names.FIGURES`, of a result that may be a kept one."""
    rows = result.collective.rows
    figures: dict[str, float] = {"ideal": ideal_busbw(trial.lab)}
    wrong = [part.wrong for row in rows for part in (row, row.in_place) if part is not None]
    if None not in wrong:
        figures["wrong"] = sum(count for count in wrong if count is not None)
    if result.makespan_us is not None:
        figures["makespan_us"] = result.makespan_us
    if rows:
        last = rows[-1]
        figures |= {"time_us": last.time_us, "algbw": last.algbw_gbytes_per_s, "busbw": last.busbw_gbytes_per_s}
    return figures


def bisect(prober: Prober) -> tuple[int | None, list[str]]:
    """Return the number of the best probe, and what is to be said of the search.

    Five probes come first, both ends among them; then the last failing step is narrowed down.
    """
    (searched,) = prober.aim.ranges
    last = searched.steps
    least = prober.aim.direction == "minimise"
    seen: dict[int, Probe] = {}

    def probe(*steps: int) -> None:
        """Probe steps, counted from the end that is sought to the other."""
        values = [searched.text(step if least else last - step) for step in steps]
        for step, each in zip(steps, prober.run([((searched.key, value),) for value in values]), strict=True):
            seen[step] = each

    probe(*sorted({last * part // _FIRST_PROBES for part in range(_FIRST_PROBES + 1)}))
    if not seen[last].holds:
        return None, [*_contrary(seen, searched.key), f"the condition fails at {seen[last].settings[searched.key]}"]
    while True:
        failing = max((step for step, each in seen.items() if not each.holds), default=-1)
        holding = min(step for step in seen if step > failing)
        if holding - failing == 1 or failing < 0:
            break
        probe((failing + holding) // 2)
    return prober.probes.index(seen[holding]), _contrary(seen, searched.key)


def _contrary(seen: Mapping[int, Probe], key: str) -> list[str]:
    """Say where the condition holds before a step where it fails."""
    failing = max((step for step, each in seen.items() if not each.holds), default=-1)
    before = [step for step, each in seen.items() if each.holds and step < failing]
    if not before:
        return []
    places = (seen[max(before)].settings[key], seen[failing].settings[key])
    return [f"the condition is not monotonic: it holds at {places[0]} and fails at {places[1]}"]


def explore(prober: Prober, trials: int, seed: int) -> tuple[int | None, list[str]]:
    """Return the number of the best of so many probes that optuna asks for, and what is to be said of the search."""
    try:
        optuna: Any = importlib.import_module("optuna")
    except ImportError:
        raise HostError("optuna is not installed: pip install 'lossless-testbed[search]'") from None
    aim = prober.aim
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(seed=seed, constraints_func=lambda trial: (trial.user_attrs["fails"],))
        study = optuna.create_study(sampler=sampler, direction=aim.direction.replace("mise", "mize"))
        while len(prober.probes) < trials:
            asked = [study.ask() for _ in range(min(_SIDE_BY_SIDE, trials - len(prober.probes)))]
            for trial, probe in zip(asked, prober.run([_drawn(trial, aim) for trial in asked]), strict=True):
                trial.set_user_attr("fails", 0.0 if probe.holds else 1.0)
                if probe.objective is None:
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                else:
                    study.tell(trial, probe.objective)
    return _best(prober.probes, aim.direction), []


def _drawn(trial: Any, aim: Aim) -> tuple[Setting, ...]:
    ranges = [(each.key, each.text(trial.suggest_int(each.key, 0, each.steps))) for each in aim.ranges]
    return (*ranges, *((axis.key, trial.suggest_categorical(axis.key, list(axis.values))) for axis in aim.over))


def _best(probes: Sequence[Probe], direction: Direction) -> int | None:
    held = [
        (probe.objective, number) for number, probe in enumerate(probes) if probe.holds and probe.objective is not None
    ]
    if not held:
        return None
    return min(held, key=lambda pair: (pair[0] if direction == "minimise" else -pair[0], pair[1]))[1]


def check_keys(base: Experiment, aim: Aim) -> None:
    """Raise UsageError for a setting that there is not, in the experiment or its lab, or that is given twice."""
    axes = [*(Axis(each.key, (each.text(0),)) for each in aim.ranges), *aim.over]
    keys = [axis.key for axis in axes]
    for axis in axes:
        if keys.count(axis.key) > 1:
            raise UsageError(f"{axis.key} is given twice")
        if axis.parameter is None:
            check_setting(axis.key)
    check_lab_keys(base, axes)
