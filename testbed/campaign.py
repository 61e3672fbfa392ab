"""Campaigns: many drawn cases, each run under the virtual clock and held against what must be true of any network.

What is checked, whatever was drawn (ARCHITECTURE, invariants): the data plane saw nothing broken; frames are conserved,
PAUSE frames included; no lossless priority lost a frame for lack of buffer, except behind a link that itself loses or
changes; nothing was lost on links that do not lose; nothing is sent again where nothing was lost; no deadlock; every
message complete once, with the right payload, or a connection that gave up on a link that was at fault; and the same
events when it is run again.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from testbed import drawn, parallel, trial
from testbed.drawn import Case
from testbed.errors import ExperimentError, TestbedError, TopologyError
from testbed.execution import Outcome
from testbed.experiment import experiment_from
from testbed.result import RunResult
from testbed.topology import lab_from
from testbed.trial import Trial
from testbed.yaml_source import Source
from traffic import Send

Ending = Literal["complete", "gave up", "refused", "failed"]
"""Of a case: every message arrived; a connection gave up, with reason; the lab cannot be built; a check failed."""

GIVEN_UP = "retry exceeded"
CASE_FILES = ("lab.yaml", "experiment.yaml")
CHECKED_TWICE = 8
"""One case in so many is run a second time, on two cores and in slices of another length."""

_DEVIATING = 777


@dataclass(frozen=True)
class Verdict:
    """What came of one case; `problems` says which checks failed."""

    seed: int
    ending: Ending
    problems: list[str]
    traits: tuple[str, ...]
    event_log_hash: str | None = None
    frame_hops: int = 0


@dataclass(frozen=True)
class Evidence:
    """A case that was run, and what was seen."""

    subject: Trial
    outcome: Outcome
    result: RunResult

    @property
    def report(self) -> dict[str, Any]:
        """The engine's last report."""
        return self.outcome.report

    def dropped(self, *causes: str) -> Iterator[tuple[str, int]]:
        """Yield the ports that lost frames by one of these causes, and how many."""
        for name, port in self.result.ports.items():
            lost = sum(priority.drops.model_dump()[cause] for priority in port.priorities.values() for cause in causes)
            if lost:
                yield name, lost

    @property
    def unsteady(self) -> set[str]:
        """The ports at both ends of links that lost frames as they may, or that a timeline changes.

        A drain is a change too: it holds back PAUSE frames like all others.
        """
        changed = {entry.link for entry in self.subject.experiment.timeline}
        lost = {port for port, _ in self.dropped("link")}
        found = set()
        for link in self.subject.lab.links:
            ends = {str(link.a), str(link.b)}
            loses = any(link.loss) or link.loss_process is not None
            if ends & changed or (loses and ends & lost):
                found |= ends
        return found


def trial_of(case: Case) -> Trial:
    """Return the trial of a case; raise what is wrong with it."""
    name = f"campaign seed {case.seed}"
    return Trial(experiment_from(Source(name, case.experiment)), lab_from(Source(name, case.lab)))


def run_case(seed: int) -> Verdict:
    """Draw a case, run it, and check it."""
    case = drawn.draw(seed)
    try:
        subject = trial_of(case)
        plan = json.dumps(subject.plan)
        cycles = subject.cycles
    except (TopologyError, ExperimentError) as error:
        return Verdict(seed, "refused", [], (*case.traits, f"refused: {str(error).splitlines()[0]}"))
    except TestbedError as error:
        return Verdict(seed, "failed", [f"{type(error).__name__}: {error}"], case.traits)
    assert plan and not cycles, f"seed {seed}: buffers of a drawn lab can wait in a circle"
    outcome = _run(subject)
    result = subject.conclude(outcome, "virtual", 1, replay_command(seed))
    evidence = Evidence(subject, outcome, result)
    problems = [problem for check in CHECKS for problem in check(evidence)]
    if seed % CHECKED_TWICE == 0 and outcome.report != _run(subject, _DEVIATING, cores=2).report:
        problems.append("run again on two cores in other slices, it took another course")
    ending: Ending = "failed" if problems else "complete" if outcome.complete else "gave up"
    return Verdict(seed, ending, problems, case.traits, result.event_log_hash, outcome.report["frame_hops"])


def _run(subject: Trial, budget: int | None = None, cores: int = 1) -> Outcome:
    """Run a trial, on so many cores; with a `budget`, in slices of so many events."""
    if budget is not None:
        subject = _Sliced(subject.experiment, subject.lab, budget)
    outcome = trial.run_virtual(subject, None, lambda _: parallel.check_interrupt(), cores)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return outcome


@dataclass(frozen=True)
class _Sliced(Trial):
    """A trial whose engine is advanced by another number of events at a time."""

    budget: int

    def series(self, clock: trial.Clock) -> Any:
        return dataclasses.replace(super().series(clock), budget=self.budget)


def replay_command(seed: int) -> str:
    """Return the command that runs one case again."""
    return f"testbed campaign --first {seed} --seeds 1"


def check_invariants(seen: Evidence) -> Iterator[str]:
    """What the data plane itself found broken, and conservation."""
    yield from (reason for reason in seen.result.verdict.reasons if reason.startswith("invariant violated"))
    if seen.result.verdict.deadlock:
        yield "deadlock, and no buffers of this lab can wait in a circle"


def check_losses(seen: Evidence) -> Iterator[str]:
    """No frame lost for lack of buffer under PFC, but behind an unsteady link; none on a link that keeps them."""
    unsteady = seen.unsteady
    if seen.subject.experiment.lossless.pfc:
        for port, lost in seen.dropped("headroom", "buffer", "receiver"):
            if port not in unsteady:
                yield f"{lost} frames lost for lack of buffer at {port}, whose link was in order"
    for port, lost in seen.dropped("link", "outage"):
        if port not in unsteady:
            yield f"{lost} frames lost on the link at {port}, which was in order"
    for port, lost in seen.dropped("watchdog"):
        yield f"{lost} frames lost to a watchdog at {port}, and there is none"


def check_pauses(seen: Evidence) -> Iterator[str]:
    """PAUSE frames that were sent and not heard are among those lost on links."""
    entries = [counters for port in seen.result.ports.values() for counters in port.priorities.values()]
    unheard = sum(entry.pause_tx - entry.pause_rx for entry in entries)
    lost = sum(sum(entry.drops.model_dump().values()) for entry in entries)
    others = lost - seen.report["conservation"]["dropped"]
    if not 0 <= others <= max(unheard, 0):
        yield f"{others} lost frames are neither data nor among the {unheard} PAUSE frames that were not heard"


def check_repetition(seen: Evidence) -> Iterator[str]:
    """Nothing is sent again where nothing was lost and no link changed."""
    again = sum(qp["retransmitted"] for qp in seen.result.qps)
    lost = sum(count for _, count in seen.dropped("headroom", "buffer", "receiver", "link", "outage", "watchdog"))
    if again and not lost and not seen.subject.experiment.timeline:
        yield f"{again} packets sent again, and none was lost"


def check_messages(seen: Evidence) -> Iterator[str]:
    """Every message arrived once and right, or its connection gave up on a link at fault."""
    rows = seen.outcome.rows
    for measured in [*rows, *(row["in_place"] for row in rows if row["in_place"])]:
        if measured["wrong"]:
            yield f"{measured['wrong']} wrong elements"
    if seen.outcome.complete:
        yield from _flows(seen)
    elif not any(qp["error"] == GIVEN_UP for qp in seen.result.qps):
        yield f"no progress: {'; '.join(seen.outcome.reasons)}"
    elif not seen.unsteady and not seen.subject.experiment.timeline and seen.subject.experiment.lossless.pfc:
        yield f"gave up, and every link was in order: {'; '.join(seen.outcome.reasons)}"


def _flows(seen: Evidence) -> Iterator[str]:
    """Hold the messages of the last workload against its schedule."""
    collective = seen.subject.collective
    call = dataclasses.replace(seen.subject.series("virtual").shapes()[-1], in_place=collective.in_place)
    sends = [op for rank in collective.schedule(call).ranks for op in rank.ops if isinstance(op, Send)]
    flows = seen.report["flows"]
    finished = [flow for flow in flows if flow["completion_ns"] is not None]
    if len(flows) != len(sends) or len(finished) != len(sends):
        yield f"{len(sends)} messages to send, {len(flows)} sent, {len(finished)} complete"
    asked, moved = sum(op.bytes for op in sends), sum(flow["bytes"] for flow in flows)
    if asked != moved:
        yield f"{asked} bytes to send, {moved} sent"
    if seen.report["conservation"]["in_flight"]:
        yield f"{seen.report['conservation']['in_flight']} frames still on their way at the end"


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    check_invariants,
    check_losses,
    check_pauses,
    check_repetition,
    check_messages,
)


@dataclass(frozen=True)
class Campaign:
    """All verdicts, in the order of their seeds."""

    verdicts: Sequence[Verdict]

    @property
    def failed(self) -> list[Verdict]:
        """Those with problems."""
        return [verdict for verdict in self.verdicts if verdict.problems]

    @property
    def exit_code(self) -> int:
        """Return 1 if a check failed, else 0."""
        return 1 if self.failed else 0

    def endings(self) -> dict[str, int]:
        """Return how many cases ended how."""
        return dict(Counter(verdict.ending for verdict in self.verdicts))

    def traits(self) -> dict[str, int]:
        """Return how many of the cases that ran had each trait, the most frequent first."""
        ran = (verdict for verdict in self.verdicts if verdict.ending != "refused")
        return dict(Counter(trait for verdict in ran for trait in verdict.traits).most_common())

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON data."""
        return {
            "schema": 1,
            "seeds": len(self.verdicts),
            "endings": self.endings(),
            "traits": self.traits(),
            "frame_hops": sum(verdict.frame_hops for verdict in self.verdicts),
            "failed": [
                {"seed": found.seed, "problems": found.problems, "replay": replay_command(found.seed)}
                for found in self.failed
            ],
            "cases": [
                {"seed": found.seed, "ending": found.ending, "event_log_hash": found.event_log_hash}
                for found in self.verdicts
            ],
        }


def run(seeds: Sequence[int], jobs: int, progress: Callable[[Verdict], None]) -> Campaign:
    """Run the cases of `seeds`, `jobs` at a time; `progress` is called as each is finished, in any order."""
    verdicts: dict[int, Verdict] = {}

    def done(number: int, found: Verdict | parallel.Defect) -> None:
        seed = seeds[number]
        if isinstance(found, parallel.Defect):
            found = Verdict(seed, "failed", [f"internal error: {found.summary}"], drawn.draw(seed).traits)
        verdicts[number] = found
        progress(found)

    parallel.run_all(run_case, seeds, jobs, done)
    return Campaign([verdicts[number] for number in range(len(seeds))])


def write_case(seed: int, directory: Path) -> list[Path]:
    """Write a case as `CASE_FILES`, which `testbed run` takes; return their paths."""
    case = drawn.draw(seed)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, data in zip(CASE_FILES, (case.lab, case.experiment), strict=True):
        paths.append(directory / name)
        # JSON is YAML too.
        paths[-1].write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return paths
