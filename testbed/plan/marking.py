"""Where a switch marks: what the experiment says for all queues, else what the lab says of them, of ports and of priorities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from testbed.contract import plan as contract
from testbed.experiment.sections import Lossless
from testbed.lab.marking import Marking
from testbed.lab.topology import Link, Switch

PRIORITIES = 8


def marks_somewhere(switches: Sequence[Switch], settings: Lossless) -> bool:
    """Return whether any switch marks anything."""
    if _decided(settings):
        return settings.ecn is not None
    return any(figures.marking is not None for switch in switches for figures in switch.every_thresholds)


def plan_keys(switch: Switch, links: Sequence[tuple[str, Link]], settings: Lossless) -> contract.SwitchOptions:
    """Return the keys of the plan about the marks of a switch, whose ports are given as name and link.

    Thresholds of a preset that grows with the rate are those of the slowest port, where they are said of all queues, since
    a mark too early costs less than one too late; of single ones those of their port.
    """
    marking = settings.ecn if _decided(settings) else switch.thresholds.marking
    keys: contract.SwitchOptions = {}
    if marking is not None and links:
        keys["ecn"] = _figures(marking, min(link.rate_bps for _, link in links))
    if _decided(settings):
        return keys
    own = [
        (port, priority, said, link.rate_bps)
        for port, (name, link) in enumerate(links)
        for priority in range(PRIORITIES)
        if any(each.concerns(name, priority) and "marking" in each.figures for each in switch.own_thresholds)
        and (priority in switch.lossless_queues or _names(switch, priority))
        for said in (switch.group(name, priority).marking,)
        if said is not None
    ]
    if own:
        keys["queue_ecn"] = [
            {"port": port, "priority": priority, **_figures(said, rate)} for port, priority, said, rate in own
        ]
    return keys


def _decided(settings: Lossless) -> bool:
    """Return whether the experiment says what is marked, be it nothing."""
    return "ecn" in settings.model_fields_set


def _names(switch: Switch, priority: int) -> bool:
    """Return whether marks are said of a priority by its number: one that is lossy is not marked for the sake of its port."""
    return any(each.priority == priority and "marking" in each.figures for each in switch.own_thresholds)


def _figures(marking: Marking, rate_bps: int) -> contract.Marking:
    return cast(contract.Marking, marking.plan(rate_bps))
