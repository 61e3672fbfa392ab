"""What is told of a trial on a lab: what it is when it begins, and the verdict when it is over."""

from __future__ import annotations

import json
from typing import Any

from testbed.agent.lab import InterruptibleFabric
from testbed.bus import told
from testbed.contract.plan import Plan
from testbed.contract.report import Telemetry
from testbed.plan.compile import chosen_ranks, ideal_busbw
from testbed.run.execution import Outcome
from testbed.run.trial import Trial

Document = dict[str, Any]

# A settled experiment has some four kilobytes; one with thousands of jobs or flows is for run.json.
_MOST_BYTES = 16 * 1024
_SAMPLE_PS = 10**12


def started(trial: Trial, experiment: Document, dilation: int) -> Document:
    """Return that a trial begins, as `told.RunStarted` without its id. `experiment` is that of its spec."""
    rows = [] if trial.program is not None else [shape.size_bytes for shape in trial.series.shapes()]
    return {
        "event": told.RUN_STARTED,
        "name": trial.name,
        "ranks": len(chosen_ranks(trial.lab, trial.experiment)),
        "rows": len(rows),
        "sizes": [rows[0], rows[-1]] if rows else None,
        "seed": trial.experiment.seed,
        "dilation": dilation,
        "clock": "real",
        "expected_ns": _expected_ns(trial),
        "experiment": experiment if len(json.dumps(experiment)) <= _MOST_BYTES else None,
    }


def _expected_ns(trial: Trial) -> int | None:
    """Return what the rows take at the ideal bandwidth, warm-up included; None where that is not known."""
    if trial.program is not None or not trial.collective.has_size or not (ideal := ideal_busbw(trial.lab)):
        return None
    series = trial.series
    times = series.iterations * series.aggregate * (2 if trial.collective.in_place else 1)
    shapes = series.shapes()
    each_ps = [_SAMPLE_PS * trial.collective.bandwidth(shape, _SAMPLE_PS)[1] / ideal for shape in shapes]
    return round((sum(each_ps) * times + max(each_ps) * series.warmup) / 1000)


def ended(trial: Trial, outcome: Outcome, dilation: int) -> Document:
    """Return how a trial ended, as `told.RunEnded` without its id; of a part of one, without verdict."""
    last = outcome.rows[-1] if outcome.rows else {}
    names = {key: key for key in ("size_bytes", "time_us")}
    names |= {"busbw": "busbw_gbytes_per_s", "algbw": "algbw_gbytes_per_s"}
    figures = {name: last[key] for name, key in names.items() if last.get(key) is not None}
    span = None if outcome.end_ps is None or outcome.start_ps is None else (outcome.end_ps - outcome.start_ps) // 1000
    about = {
        "event": told.RUN_ENDED,
        "name": trial.name,
        "complete": outcome.complete,
        "interrupted": outcome.interrupted,
        "reasons": list(outcome.reasons),
        "verdict": None,
        "passed": None,
        "exit_code": None,
        "figures": figures,
        "nominal_ns": span,
    }
    return about if trial.placement is not None else {**about, **_judged(trial, outcome, dilation)}


def _judged(trial: Trial, outcome: Outcome, dilation: int) -> Document:
    # A run that nobody judges, on an agent that starts, does without them.
    from testbed.run.judgement import conclude
    from testbed.run.sentence import sentence

    judged = conclude(trial, outcome, "real", dilation, "")
    return {
        "verdict": sentence(judged),
        "passed": judged.verdict.passed,
        "exit_code": judged.exit_code,
        "reasons": list(judged.verdict.reasons),
    }


class LabMeter:
    """Reads the telemetry of a lab, from nominal time 0 at the beginning of a run."""

    in_all = True

    def __init__(self, engine: InterruptibleFabric, plan: Plan) -> None:
        self._engine = engine
        hosts = [node for node in plan["nodes"] if node["kind"] == "host"]
        self._ports = [f"{host['name']}:{port['name']}" for host in hosts for port in host["ports"]]
        self._began_ps = 0
        self._began_ps = self.read()[0]

    def read(self) -> tuple[int, int]:
        """Return nominal time, and the packets that NICs here have sent."""
        seen: Telemetry = json.loads(self._engine.telemetry())
        ports = [seen["ports"][port] for port in self._ports if port in seen["ports"]]
        sent = sum(counters["data_frames_tx"] for port in ports for counters in port["priorities"].values())
        return seen["now_ps"] - self._began_ps, sent
