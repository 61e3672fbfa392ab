"""The table of jobs: when each ended, what its iterations took, and how much of its communication was exposed."""

from __future__ import annotations

from rich.text import Text

from testbed.report.figures import format_ns
from testbed.report.tables import NotedTable, table_of
from testbed.run.job_result import JobResult
from testbed.run.result import RunResult

JOB_ROWS = 64
_REACHES = {
    "host": "within hosts",
    "domain": "within domains",
    "leaf": "over one switch",
    "spine": "over several switches",
    "site": "between sites",
}


def jobs_text(result: RunResult) -> str:
    """Return the lines above the table: what was run, and how long all of it took."""
    lines = [
        f"# {len(result.jobs)} jobs, {result.collective.ranks} ranks, lab {result.lab}, seed {result.seed}",
        f"# {result.clock} clock, dilation {result.dilation}; times are nominal",
    ]
    if result.makespan_us is not None:
        lines.append(f"# Makespan             : {_time(result.makespan_us)}")
    if result.bytes_by_reach is not None and (sent := result.bytes_by_reach.model_dump()) and any(sent.values()):
        shares = (f"{sent[reach] / sum(sent.values()):.1%} {words}" for reach, words in _REACHES.items() if sent[reach])
        lines.append(f"# Bytes sent           : {', '.join(shares)}")
    return "\n".join(lines)


def job_table(result: RunResult) -> NotedTable:
    """Return a row for each job; columns on running alone only where jobs were run alone."""
    compared = any(job.alone_us is not None for job in result.jobs)
    right = ("ranks", "start", "end", "iterations", "mean", "longest", "exposed", "hidden", "busbw GB/s")
    table = table_of("Jobs", left=("job",), right=(*right, *(("alone", "slowdown") if compared else ())))
    for job in result.jobs[:JOB_ROWS]:
        times = [iteration.time_us for iteration in job.iterations]
        cells = [
            str(len(job.ranks)),
            "-" if job.start_us is None else _time(job.start_us),
            "not ended" if job.end_us is None else _time(job.end_us),
            str(len(times)),
            _time(sum(times) / len(times)) if times else "-",
            _time(max(times)) if times else "-",
            _mean(job, job.exposed_us),
            _mean(job, job.hidden_us),
            "-" if job.busbw_gbytes_per_s is None else f"{job.busbw_gbytes_per_s:.2f}",
        ]
        if compared:
            cells += [
                "-" if job.alone_us is None else _time(job.alone_us),
                "-" if job.slowdown is None else f"{job.slowdown:.3f}",
            ]
        table.add_row(Text(job.name), *cells)
    omitted = len(result.jobs) - JOB_ROWS
    note = "exposed and hidden communication are of an iteration, on average"
    return NotedTable(table, f"{omitted} more jobs in run.json; {note}" if omitted > 0 else note)


def _time(time_us: float) -> str:
    return format_ns(time_us * 1000)


def _mean(job: JobResult, total_us: float) -> str:
    return _time(total_us / len(job.iterations)) if job.iterations and total_us else "-"
