"""What runs are compared by, one figure each, and the verdict on a run in one word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.plan.compile import ideal_busbw
from testbed.run.observed import NOT_LOSSLESS
from testbed.run.result import RunResult
from testbed.run.trial import Trial
from testbed.study.document import Model, Verdict


class Figures(Model):
    """What a sweep compares. Bandwidths and time are those of the largest size; counts are of the whole run.

    Of jobs `time_us` is the makespan, algbw all that they sent in it, and busbw their mean. Of flows it is when the last of
    them had ended, algbw all that they were in it, and busbw the share of a host; slowdowns are of flows alone.

    `iteration_us` is how long an iteration of a job takes, and `exposed_us` the communication in it that no computing hides: the
    mean over all iterations of all jobs.

    `paused_ns` is of the port that was paused longest, `credit_wait_ns` of the one that waited longest for credit,
    `queue_bytes_max` and `headroom_bytes_max` of the fullest queue and priority group of a switch, `buffer_bytes` the deepest
    memory that a switch has. What links consume is null where none has a profile, and a cost where there are no prices; that
    of a step is of one iteration of the largest size.
    """

    time_us: float
    algbw_gbytes_per_s: float
    busbw_gbytes_per_s: float
    share_of_ideal: float
    lossless: bool
    drops: dict[str, int]
    packets_tx: int
    retransmitted: int
    timeouts: int
    pause_frames: int
    paused_ns: float
    credit_wait_ns: float = 0
    queue_bytes_max: int
    headroom_bytes_max: int
    buffer_bytes: int
    watts: float | None = None
    nominal_pj_per_bit: float | None = None
    useful_pj_per_bit: float | None = None
    joules_per_step: float | None = None
    cost_per_step: float | None = None
    slowdown_mean: float | None = None
    slowdown_p99: float | None = None
    iteration_us: float | None = None
    exposed_us: float | None = None


def verdict_of(result: RunResult) -> Verdict:
    """Return the verdict on a row in one word."""
    verdict = result.verdict
    if verdict.passed:
        return "passed"
    if not verdict.complete:
        return "incomplete"
    lost_only = all(reason.startswith(NOT_LOSSLESS) for reason in verdict.reasons)
    return "lossy" if lost_only else "failed"


def figures_of(result: RunResult, subject: Trial) -> Figures:
    """Return what is compared of a result that has a row, or jobs that all ended."""
    time_us, algbw, busbw = _measured(result)
    switches = {switch.name for switch in subject.lab.switches}
    everywhere = [(name, counters) for name, port in result.ports.items() for counters in port.priorities.values()]
    inside = [counters for name, counters in everywhere if name.rpartition(":")[0] in switches]
    return Figures(
        time_us=time_us,
        algbw_gbytes_per_s=algbw,
        busbw_gbytes_per_s=busbw,
        share_of_ideal=busbw / ideal_busbw(subject.lab),
        lossless=result.verdict.lossless,
        drops={cause: count for cause, count in result.drops.model_dump().items() if isinstance(count, int)},
        packets_tx=sum(qp["packets_tx"] for qp in result.qps),
        retransmitted=sum(qp["retransmitted"] for qp in result.qps),
        timeouts=sum(qp["timeouts"] for qp in result.qps),
        pause_frames=sum(counters.pause_tx for _, counters in everywhere),
        paused_ns=max((counters.paused_ns for _, counters in everywhere), default=0),
        credit_wait_ns=max((counters.credit_wait_ns for _, counters in everywhere), default=0),
        queue_bytes_max=max((counters.queue_bytes_max for counters in inside), default=0),
        headroom_bytes_max=max((counters.headroom_bytes_max for counters in inside), default=0),
        buffer_bytes=max(
            (node["buffer_bytes"] for node in subject.plan["nodes"] if node["kind"] == "switch"), default=0
        ),
        **_consumed(result.energy, time_us),
        **_slowdowns(result),
        **_iterations(result),
    )


def _slowdowns(result: RunResult) -> dict[str, float]:
    slowdown = result.flow_completion.all.slowdown if result.flow_completion is not None else None
    return {} if slowdown is None else {"slowdown_mean": slowdown.mean, "slowdown_p99": slowdown.p99}


def _iterations(result: RunResult) -> dict[str, float]:
    times = [iteration.time_us for job in result.jobs for iteration in job.iterations]
    exposed_us = sum(job.exposed_us for job in result.jobs)
    return {"iteration_us": sum(times) / len(times), "exposed_us": exposed_us / len(times)} if times else {}


def _measured(result: RunResult) -> tuple[float, float, float]:
    """Return time, algbw and busbw of the largest size; of jobs the makespan, what it carried a second, and their mean busbw."""
    if result.collective.rows:
        last = result.collective.rows[-1]
        return last.time_us, last.algbw_gbytes_per_s, last.busbw_gbytes_per_s
    if result.flow_completion is not None:
        flows = result.flow_completion.flows
        end_us = max(flow.start_us + (flow.fct_us or 0.0) for flow in flows)
        algbw = sum(flow.bytes for flow in flows) / 1000 / end_us
        return end_us, algbw, algbw / result.collective.ranks
    makespan_us = result.makespan_us or 0.0
    rates = [job.busbw_gbytes_per_s for job in result.jobs if job.busbw_gbytes_per_s is not None]
    carried = sum(flow.bytes for flow in result.flows)
    return makespan_us, carried / 1000 / makespan_us if makespan_us else 0.0, sum(rates) / len(rates) if rates else 0.0


def _consumed(energy: Mapping[str, Any], time_us: float) -> dict[str, Any]:
    """Return what the links of a run consumed, altogether and over a step of so many microseconds."""
    if not energy:
        return {}
    kept = {key: energy[key] for key in ("watts", "nominal_pj_per_bit", "useful_pj_per_bit")}
    cost = energy.get("cost")
    share = time_us * 1000 / energy["duration_ns"]
    return {
        **kept,
        "joules_per_step": energy["joules"] * share,
        "cost_per_step": None if cost is None else cost * share,
    }
