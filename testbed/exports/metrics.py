"""A result as metrics: OpenMetrics text, and JSON lines as NCCL's Inspector writes them.

Collectives have the Inspector's names, so that what reads those reads these; the rest is called `testbed_…`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from testbed.openmetrics import Sample, called, samples_of_drops, samples_of_port, text_of
from testbed.run.result import RunResult

FORMAT_VERSION = "v4.0"


class _Call(NamedTuple):
    """A collective with what it took."""

    name: str
    algorithm: str
    ranks: int
    hosts: int
    first: str
    size_bytes: int
    time_us: float
    algbw: float
    busbw: float


def openmetrics(result: RunResult) -> str:
    """Return a result in the text form of OpenMetrics 1.0."""
    return text_of(_samples(result))


def inspector_lines(result: RunResult) -> str:
    """Return a line of JSON for each collective of a result; none has a time of day."""
    lines = []
    for number, call in enumerate(_calls(result)):
        lines.append(
            {
                "header": {"id": result.lab, "rank": 0, "n_ranks": call.ranks, "nnodes": call.hosts},
                "metadata": {
                    "inspector_output_format_version": FORMAT_VERSION,
                    "git_rev": result.versions["testbed"],
                    "rec_mechanism": "testbed",
                    "dump_timestamp_us": 0,
                    "hostname": call.first,
                    "pid": 0,
                },
                "coll_perf": {
                    "coll": called(call.name),
                    "coll_sn": number,
                    "coll_msg_size_bytes": call.size_bytes,
                    "coll_exec_time_us": call.time_us,
                    "coll_timing_source": f"{result.clock}_clock",
                    "coll_algobw_gbs": call.algbw,
                    "coll_busbw_gbs": call.busbw,
                },
            }
        )
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def _calls(result: RunResult) -> Iterator[_Call]:
    """Yield the rows of a collective, or the collectives of jobs."""
    collective = result.collective
    places = [place.host for place in result.ranks]
    for row in collective.rows:
        for measured in (row, row.in_place):
            if measured is not None:
                figures = (row.size_bytes, measured.time_us, measured.algbw_gbytes_per_s, measured.busbw_gbytes_per_s)
                first = places[0] if places else ""
                yield _Call(collective.name, collective.algorithm, collective.ranks, len(set(places)), first, *figures)
    for job in result.jobs:
        hosts = [rank.partition("/")[0] for rank in job.ranks]
        for step in job.steps:
            algbw = step.size_bytes / step.time_us / 1000 if step.time_us else 0.0
            ranks, nodes = len(job.ranks) // step.groups, min(len(set(hosts)), len(job.ranks) // step.groups)
            figures = (step.size_bytes, step.time_us, algbw, step.busbw_gbytes_per_s)
            yield _Call(step.collective, step.algorithm, ranks, nodes, hosts[0], *figures)


def _samples(result: RunResult) -> Iterator[Sample]:
    lab = {"lab": result.lab}
    yield "testbed_passed", lab, float(result.verdict.passed)
    yield "testbed_trusted", lab, float(result.verdict.trusted)
    for number, call in enumerate(_calls(result)):
        labels = {
            "version": FORMAT_VERSION,
            "slurm_job_id": "",
            "node": call.first,
            "gpu": "0",
            "comm_name": result.lab,
            "n_nodes": str(call.hosts),
            "nranks": str(call.ranks),
            "collective": called(call.name),
            "message_size": str(call.size_bytes),
            "algo_proto": f"{call.algorithm}_RoCE",
            "call": str(number),
        }
        yield "nccl_bus_bandwidth_gbs", labels, call.busbw
        yield "nccl_collective_exec_time_microseconds", labels, call.time_us
    if result.flow_completion is not None and result.flow_completion.all.slowdown is not None:
        yield "testbed_flow_slowdown_p99", lab, result.flow_completion.all.slowdown.p99
    for job in result.jobs:
        if job.end_us is not None and job.start_us is not None:
            yield "testbed_job_seconds", {**lab, "job": job.name}, (job.end_us - job.start_us) / 10**6
    for name, port in result.ports.items():
        yield from samples_of_port(
            result.lab, name, {str(priority): vars(counters) for priority, counters in port.priorities.items()}
        )
    yield from samples_of_drops(result.lab, result.drops.model_dump())
