"""The judgement of a trial: its result with the verdict, and what of the experiment never came to bear."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from testbed import timeseries
from testbed.errors import Fault
from testbed.experiment import expectations
from testbed.lab import watchdog
from testbed.lab.sites import sites
from testbed.optics.energy import PoweredLink, energy_of_run
from testbed.plan.compile import chosen_ranks, ideal_busbw
from testbed.run import expectation_names, flow_times, hints, result, timeline
from testbed.run.execution import Outcome
from testbed.run.job_times import makespan_us
from testbed.run.pauses import pauses_of
from testbed.run.result import RunResult
from testbed.run.trial import Clock, Trial
from testbed.run.verdict import RunFacts
from testbed.units import format_time

Document = dict[str, Any]


def unreached(trial: Trial, outcome: Outcome) -> list[Fault]:
    """Return a fault for each entry of the timeline, and for a warm-up, that a complete run ended before."""
    if not outcome.complete:
        return []
    faults = timeline.never_reached(trial.experiment, outcome.impairments)
    warmup = trial.experiment.warmup
    if warmup is not None and outcome.report["settled"] is None:
        message = f"there is no settled state: the run was over before {format_time(warmup)}"
        faults.append(trial.experiment.fault(("warmup",), message))
    return faults


def unknown_names(trial: Trial, judged: RunResult) -> list[Fault]:
    """Return a fault for each name in `expect:` that the result of a complete run does not have."""
    if not judged.verdict.complete:
        return []
    return list(expectation_names.faults_in(trial.experiment, trial.lab, judged.model_dump(mode="json")))


def _lossless(trial: Trial) -> tuple[int, ...]:
    """Return the numbers under which ports count what must not be lost: priorities at hosts, queues at switches."""
    switches = trial.lab.switches
    return tuple(sorted({number for each in switches for number in (*each.lossless, *each.lossless_queues)}))


def conclude(
    trial: Trial,
    outcome: Outcome,
    clock: Clock,
    dilation: int,
    replay: str,
    alone_us: Mapping[str, float | None] | None = None,
) -> RunResult:
    """Return the result of a trial: its outcome judged, expectations included.

    `alone_us` is what each job took when it ran alone, where they did.
    """
    series = _series(trial, outcome)
    told = [*trial.hints, *hints.after(trial.setup, outcome.report), *_coarser(trial, series)]
    facts = RunFacts(
        lab=trial.lab.name,
        seed=trial.experiment.seed,
        clock=clock,
        dilation=dilation,
        replay=replay,
        collective=trial.name,
        algorithm="program" if trial.experiment.jobs else _drawn_from(trial) or trial.collective.algorithm,
        ranks=len(chosen_ranks(trial.lab, trial.experiment)),
        root=_root(trial),
        ideal_gbytes_per_s=ideal_busbw(trial.lab) if trial.collective.has_size else None,
        places=tuple(_places(trial)),
        bounds=trial.bounds,
        energy=_energy(trial, outcome),
        lossless=_lossless(trial),
        watchdogs=watchdog.settings_in_force(trial.plan),
        buffer_cycles=tuple(cycle.ports for cycle in trial.cycles),
        in_force=trial.in_force(dilation),
        links=tuple(trial.links()),
        alone_us=alone_us or {},
        reach=trial.reach,
        pauses=_pauses(trial, outcome),
        series=series,
        flow_completion=flow_times.told(trial.lab, trial.experiment, trial.flows, outcome) if trial.flows else None,
        settings=trial.settings(),
        addresses=dict(_addresses(trial)),
        hints=tuple(dataclasses.asdict(hint) for hint in told),
    )
    judged = result.assemble(facts, outcome)
    if not trial.experiment.expect:
        return judged
    checks = expectations.check_all(trial.experiment.expect, judged.model_dump(mode="json"), _figures(trial, outcome))
    return result.assemble(facts, outcome, checks)


def _addresses(trial: Trial) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the ports of hosts, each with the addresses of its NIC."""
    for station in trial.plan["stations"]:
        if station["kind"] == "nic":
            port = trial.plan["nodes"][station["node"]]["ports"][station["port"]]["name"]
            yield f"{station['name']}:{port}", {"mac": station["mac"], "ip": station["ip"]}


def _series(trial: Trial, outcome: Outcome) -> Document | None:
    """Return what run.json says of the series; None if none were recorded."""
    series, asked = timeseries.decode(outcome.series), trial.experiment.series
    if series is None or asked is None:
        return None
    return timeseries.describe(series, asked if isinstance(asked, str) else format_time(asked))


def _coarser(trial: Trial, series: Document | None) -> list[hints.Hint]:
    """Return a hint where series have another period than the one asked for."""
    asked, plan = trial.experiment.series, trial.series_plan
    if series is None or plan is None or not isinstance(asked, int) or 1000 * series["period_ns"] == asked:
        return []
    kept = f"{plan['points']:,} points and {plan['changes']:,} changes of a run are kept"
    text = f"asked for every {series['asked']}, recorded every {format_time(round(1000 * series['period_ns']))}: {kept}"
    return [hints.Hint("series", text)]


def _drawn_from(trial: Trial) -> str | None:
    """Return what the sizes of flows are drawn from, or that they are listed; None where there are no flows."""
    flows = trial.experiment.flows
    return None if flows is None else flows.sizes.name if flows.sizes is not None else "list"


def _pauses(trial: Trial, outcome: Outcome) -> Document | None:
    """Return who paused whom, and why; None where it was not recorded."""
    if outcome.pauses is None:
        return None
    return pauses_of(trial.plan, outcome.pauses, outcome.report["deadlocks"], outcome.start_ps or 0)


def _root(trial: Trial) -> int:
    """Return the root of the collective, the first one if it is run with all; -1 where there is none."""
    root = trial.experiment.workload.root
    return -1 if trial.program is not None or trial.collective.root < 0 else root if isinstance(root, int) else 0


def _places(trial: Trial) -> Iterator[Document]:
    """Yield where each rank runs; sites are numbered from 1, as pictures have them, where there are several."""
    site = sites(trial.lab)
    several = len({site[host.name] for host in trial.lab.hosts}) > 1
    hosts = {host.name: host for host in trial.lab.hosts}
    for number, rank in enumerate(chosen_ranks(trial.lab, trial.experiment)):
        host = hosts[rank.host]
        home = host.home(rank.accelerator, "scale-out" if host.scale_out else "scale-up")
        at = str(1 + site[rank.host]) if several else None
        yield {"rank": number, "host": str(rank), "port": home, "domain": host.domain, "site": at}


def _energy(trial: Trial, outcome: Outcome) -> Document:
    """Return what links with a profile spent while the workloads ran that came to their end."""
    links = [
        PoweredLink(
            name=f"{link.a} - {link.b}",
            profile=behaviour.profile,
            power_w=behaviour.power_w,
            rate_bps=behaviour.rate_bps,
            useful_bits=sum(outcome.received_bits.get(str(end), 0) for end in (link.a, link.b)),
        )
        for link in trial.lab.links
        if (behaviour := trial.lab.behaviour(link)) is not None
    ]
    times = trial.experiment.workload.iterations * trial.experiment.workload.aggregate
    measured = [each for row in outcome.rows for each in (row, row["in_place"]) if each]
    duration_ps = sum(round(each["time_us"] * 10**6) * times for each in measured)
    if trial.program is not None and outcome.start_ps is not None and outcome.end_ps is not None:
        duration_ps = outcome.end_ps - outcome.start_ps
    useful_bits = sum(8 * flow["bytes"] for flow in outcome.flows if flow["completion_ns"] is not None)
    return energy_of_run(links, duration_ps, useful_bits, trial.experiment.prices)


def _figures(trial: Trial, outcome: Outcome) -> dict[str, float]:
    """Return what expectations may name besides the document: `expectation_names.FIGURES`.

    Time and bandwidth are those of the last and largest row that was completed, `wrong` the wrong elements of all rows;
    where lengths were sent nothing was compared, and there is no `wrong`.
    """
    figures = {"ideal": ideal_busbw(trial.lab)}
    counts = [part["wrong"] for row in outcome.rows for part in (row, row["in_place"]) if part]
    if None not in counts:
        figures["wrong"] = sum(counts)
    makespan = makespan_us(outcome.jobs)
    if makespan is not None:
        figures["makespan_us"] = makespan
    if outcome.rows:
        last = outcome.rows[-1]
        figures |= {
            "time_us": last["time_us"],
            "algbw": last["algbw_gbytes_per_s"],
            "busbw": last["busbw_gbytes_per_s"],
        }
    return figures
