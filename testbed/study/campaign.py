"""Campaigns: many drawn cases, each run under the virtual clock and held against what must be true of any network.

What is checked stands in `campaign_checks`; besides, one case in eight takes the same course when it is run again.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from testbed.errors import ExperimentError, TestbedError, TopologyError
from testbed.experiment.file import experiment_from
from testbed.lab.topology import lab_from
from testbed.run import perform
from testbed.run.execution import Outcome
from testbed.run.judgement import conclude
from testbed.run.trial import Trial
from testbed.schema.source import Source
from testbed.study import parallel, points, random_cases
from testbed.study.campaign_checks import ACTIVE, CHECKS, Evidence, active
from testbed.study.means import Means, Missing, PointKind, carry_out
from testbed.study.random_cases import Case

Ending = Literal["complete", "gave up", "deadlock", "out of time", "refused", "failed"]
"""Of a case: every message arrived; a connection gave up, with reason; buffers waited in a circle for good; frames
were lost again and again until the limit of a run; the lab cannot be built; a check failed."""

CASE_FILES = ("lab.yaml", "experiment.yaml")
CHECKED_TWICE = 8
"""One case in so many is run a second time, on two cores and in slices of another length."""

_DEVIATING = 777


@dataclass(frozen=True)
class Verdict:
    """What came of one case: `problems` says which checks failed, `active` which features were seen at work."""

    seed: int
    ending: Ending
    problems: list[str]
    traits: tuple[str, ...]
    active: tuple[str, ...] = ()
    event_log_hash: str | None = None
    frame_hops: int = 0


def trial_of(case: Case) -> Trial:
    """Return the trial of a case; raise what is wrong with it."""
    name = f"campaign seed {case.seed}"
    return Trial(experiment_from(Source(name, case.experiment)), lab_from(Source(name, case.lab)))


def run_case(seed: int) -> Verdict:
    """Draw a case, run it, and check it."""
    case = random_cases.draw(seed)
    try:
        subject = trial_of(case)
        assert json.dumps(subject.plan) and subject.changes is not None and subject.cycles is not None
    except (TopologyError, ExperimentError) as error:
        return Verdict(seed, "refused", [], (*case.traits, f"refused: {str(error).splitlines()[0]}"))
    except TestbedError as error:
        return Verdict(seed, "failed", [f"{type(error).__name__}: {error}"], case.traits)
    outcome = _run(subject)
    result = conclude(subject, outcome, "virtual", 1, replay_command(seed))
    evidence = Evidence(subject, outcome, result)
    problems = [problem for check in CHECKS for problem in check(evidence)]
    if seed % CHECKED_TWICE == 0 and outcome.report != _run(subject, _DEVIATING, cores=2).report:
        problems.append("run again on two cores in other slices, it took another course")
    at_work = active(evidence)
    return Verdict(
        seed,
        "failed" if problems else _ending(evidence),
        problems,
        case.traits,
        at_work,
        result.event_log_hash,
        outcome.report["frame_hops"],
    )


def _ending(seen: Evidence) -> Ending:
    if seen.outcome.complete:
        return "complete"
    if any(qp["error"] for qp in seen.result.qps):
        return "gave up"
    return "deadlock" if seen.result.deadlocks else "out of time"


def _run(subject: Trial, budget: int | None = None, cores: int = 1) -> Outcome:
    """Run a trial, on so many cores; with a `budget`, in slices of so many events."""
    outcome = perform.run_virtual(subject, None, lambda _: parallel.check_interrupt(), cores, budget)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return outcome


def replay_command(seed: int) -> str:
    """Return the command that runs one case again."""
    return f"testbed campaign --first {seed} --seeds 1"


@dataclass(frozen=True)
class Campaign:
    """The verdicts of those cases that came to one, in the order of their seeds.

    `interrupted`: there were to be more. `missing` are seeds whose cases were to be collected, and are not kept.
    """

    verdicts: Sequence[Verdict]
    interrupted: bool = False
    missing: Sequence[int] = ()

    @property
    def failed(self) -> list[Verdict]:
        """Those with problems."""
        return [verdict for verdict in self.verdicts if verdict.problems]

    @property
    def exit_code(self) -> int:
        """Return 1 if a check failed or a case is missing, else 0."""
        return 1 if self.failed or self.missing else 0

    def endings(self) -> dict[str, int]:
        """Return how many cases ended how."""
        return dict(Counter(verdict.ending for verdict in self.verdicts))

    @property
    def ran(self) -> list[Verdict]:
        """Those that were not refused."""
        return [verdict for verdict in self.verdicts if verdict.ending != "refused"]

    def traits(self) -> dict[str, int]:
        """Return how many of the cases that ran had each trait, the most frequent first."""
        return dict(Counter(trait for verdict in self.ran for trait in verdict.traits).most_common())

    def active(self) -> dict[str, int]:
        """Return in how many of the cases that ran each feature was seen at work, the most frequent first."""
        seen = Counter(dict.fromkeys(ACTIVE, 0))
        seen.update(name for verdict in self.ran for name in verdict.active)
        return dict(seen.most_common())

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON data."""
        return {
            "schema": 1,
            "seeds": len(self.verdicts),
            "interrupted": self.interrupted,
            "missing": list(self.missing),
            "endings": self.endings(),
            "traits": self.traits(),
            "active": self.active(),
            "frame_hops": sum(verdict.frame_hops for verdict in self.verdicts),
            "failed": [
                {"seed": verdict.seed, "problems": verdict.problems, "replay": replay_command(verdict.seed)}
                for verdict in self.failed
            ],
            "cases": [
                {"seed": verdict.seed, "ending": verdict.ending, "event_log_hash": verdict.event_log_hash}
                for verdict in self.verdicts
            ],
        }


def _pack(verdict: Verdict) -> points.Json:
    return dataclasses.asdict(verdict)


def _unpack(seed: int, packed: points.Json) -> Verdict:
    tuples = {name: tuple(packed[name]) for name in ("traits", "active")}
    return Verdict(**{**packed, **tuples})


_KIND = PointKind(run_case, lambda seed: points.key_of("case", {"seed": seed}), _pack, _unpack)


def run(seeds: Sequence[int], means: Means, progress: Callable[[Verdict], None] = lambda verdict: None) -> Campaign:
    """Run the cases of `seeds`; `progress` is called as each is finished, in any order.

    Of a share of them there are its verdicts alone. A KeyboardInterrupt ends it early, with the verdicts that there are.
    """
    verdicts: dict[int, Verdict] = {}
    missing: list[int] = []

    def done(number: int, outcome: Verdict | parallel.Defect | Missing) -> None:
        seed = seeds[number]
        if isinstance(outcome, Missing):
            missing.append(seed)
            return
        if isinstance(outcome, parallel.Defect):
            outcome = Verdict(seed, "failed", [f"internal error: {outcome.summary}"], random_cases.draw(seed).traits)
        verdicts[number] = outcome
        progress(outcome)

    interrupted = False
    try:
        carry_out(_KIND, seeds, means, done)
    except KeyboardInterrupt:
        interrupted = True
    return Campaign([verdicts[number] for number in sorted(verdicts)], interrupted, missing)


def write_case(seed: int, directory: Path) -> list[Path]:
    """Write a case as `CASE_FILES`, which `testbed run` takes; return their paths."""
    case = random_cases.draw(seed)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, data in zip(CASE_FILES, (case.lab, case.experiment), strict=True):
        paths.append(directory / name)
        # JSON is YAML too.
        paths[-1].write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return paths
