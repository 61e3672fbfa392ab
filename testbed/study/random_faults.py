"""Random faults for a campaign: what happens to links and hosts while a workload runs. Each of them ends."""

from __future__ import annotations

from collections.abc import Callable

from testbed import units
from testbed.optics.catalogue import load_catalogue
from testbed.study.random_labs import Data, Luck, Wiring, loss


def timeline(luck: Luck, wiring: Wiring, experiment: Data, traits: list[str]) -> list[Data]:
    """Draw up to four faults within the time that the workload might take; each of them ends."""
    if luck.chance(0.4):
        return []
    slowest = min(_rate_bps(link) for link in wiring.links)
    flight_ps = sum(units.fibre_delay_ps(units.parse_length(link["length"])) for link in wiring.links)
    workload = experiment["workload"]
    span_ps = 4 * units.serialisation_ps(workload.get("size") or workload["maxbytes"], slowest) + 4 * flight_ps + 10**6
    entries = []
    for _ in range(luck.whole(1, 4)):
        kind = STORM if WATCHED in traits and luck.chance(0.5) else luck.pick([*FAULTS, STORM, WEIGHTS])
        entry: Data = {
            "at": f"{round(luck.random.uniform(0, span_ps))}ps",
            "for": f"{round(luck.spread(span_ps / 100, span_ps))}ps",
        }
        if kind == STORM:
            entry |= {"node": luck.pick(wiring.hosts()), "storm": _storm(luck, experiment, span_ps)}
        elif kind == WEIGHTS:
            port = luck.pick([end for link in wiring.links for end in link["endpoints"] if end[0] != "h"])
            weights = {priority: luck.whole(1, 8) for priority in (0, 3, 4, 5, 6)}
            entry |= {"link": port, "direction": "out", "impair": {"weights": weights}}
        else:
            link = luck.pick(wiring.links)
            entry |= {"link": luck.pick(link["endpoints"]), "direction": luck.pick(["both", "out", "in"])}
            entry["impair"] = FAULTS[kind](luck, link, span_ps)
        entries.append(entry)
        if kind not in traits:
            traits.append(kind)
    return entries


def _storm(luck: Luck, experiment: Data, span_ps: int) -> Data:
    storm: Data = {"priorities": sorted({experiment["lossless"]["priority"], luck.pick([3, 4])})}
    if luck.chance(0.5):
        period = round(luck.spread(span_ps / 50, span_ps / 2))
        storm |= {"period": f"{period}ps", "duty": luck.pick([0.1, 0.5, 0.9])}
    return storm


def _rate_bps(link: Data) -> int:
    if "rate" in link:
        return units.parse_rate(link["rate"])
    return load_catalogue().profiles[link["profile"]].rate or 0


def _slower(luck: Luck, link: Data, span_ps: int) -> Data:
    return {"rate": round(_rate_bps(link) * luck.random.uniform(0.1, 0.9))}


def _delayed(luck: Luck, link: Data, span_ps: int) -> Data:
    return {"delay": f"{round(luck.spread(10**5, 10**9))}ps"}


def _losing(luck: Luck, link: Data, span_ps: int) -> Data:
    return {"loss": loss(luck), **({"burst": luck.whole(2, 20)} if luck.chance(0.5) else {})}


def _flapping(luck: Luck, link: Data, span_ps: int) -> Data:
    period = round(luck.spread(span_ps / 50, span_ps / 2))
    return {"flap": {"period": f"{period}ps", "duty": luck.pick([0.1, 0.3, 0.6]), "count": luck.whole(1, 4)}}


def _ramping(luck: Luck, link: Data, span_ps: int) -> Data:
    ends = [f"{round(luck.spread(10**5, 10**8))}ps" for _ in "ab"]
    return {"ramp": {"delay": ends, "steps": luck.whole(1, 10)}}


STORM, WEIGHTS, WATCHED = "storm", "weights changed", "watchdog"
FAULTS: dict[str, Callable[[Luck, Data, int], Data]] = {
    "down": lambda luck, link, span_ps: {"down": True},
    "flap": _flapping,
    "loss": _losing,
    "delay": _delayed,
    "jitter": lambda luck, link, span_ps: {"jitter": f"{round(luck.spread(10**4, 10**8))}ps"},
    "delay ramp": _ramping,
    "rate": _slower,
    "drain": lambda luck, link, span_ps: {"drain": True},
}
