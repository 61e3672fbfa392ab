"""A plan off the bus is either one that drivers and data plane can work with, or refused before anything is altered."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest

from testbed.agent.lab import Document
from testbed.agent.owner import LabOwner
from testbed.agent.process import check_fabric
from testbed.bus import messages
from testbed.drivers import emulation
from testbed.drivers.layout import attachments, layout_of
from testbed.errors import HostError, UsageError
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.check import check_plan
from testbed.plan.compile import compile_fabric
from testbed.plan.difference import changes, keep_addresses
from testbed.plan.placement import part_of, place, placed
from tests.unit.agent.bus_world import MemoryDriver, MemoryFabric, execute

LABS = ("pair", "two-dc", "incast")
STRANGE = [
    None,
    True,
    -1,
    0,
    7,
    2**31,
    2**64,
    2**80,
    0.5,
    -0.5,
    1e308,
    "",
    "x",
    "a/b",
    "../x",
    "a" * 70,
    [],
    [1],
    {},
    [99, 0],
]


def plan_of(spec: str) -> Document:
    plan: Document = json.loads(json.dumps(compile_fabric(load_lab(spec), new_experiment("any", "all_reduce"))))
    return plan


def places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where something stands in a document; of long lists only what comes first."""
    if isinstance(document, dict):
        inner = list(document.items())
    else:
        inner = list(enumerate(document[:6])) if isinstance(document, list) else []
    return [place for key, value in inner for place in [(*at, key), *places(value, (*at, key))]]


def within(document: Any, at: tuple[Any, ...]) -> Any:
    for key in at:
        document = document[key]
    return document


def mutated(plan: Document, luck: Random) -> Document:
    """Return a plan of which one thing is missing, strange, twice there, or another's."""
    result = copy.deepcopy(plan)
    everywhere = places(result)
    at = luck.choice(everywhere)
    holder, key = within(result, at[:-1]), at[-1]
    kind = luck.randrange(5)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    elif kind == 2:
        holder[key] = copy.deepcopy(within(result, luck.choice(everywhere)))
    elif kind == 3 and type(holder[key]) is int:
        holder[key] += luck.choice((-1, 1, 100))
    else:
        holder[key] = luck.choice(STRANGE)
    return result


@pytest.mark.parametrize("spec", [*LABS, "clos:hosts=2", "ring"])
def test_plans_of_ours_are_taken(spec: str) -> None:
    lab = load_lab(spec)
    shared = placed(plan_of(spec), place(lab, {"a": "10.0.0.1", "b": "fd00::2"}), lab)
    for plan in (plan_of(spec), shared, part_of(plan_of(spec), "")):
        check_plan(plan)
        check_fabric(json.dumps(plan))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_taken_can_be_worked_with(seed: int) -> None:
    luck = Random(seed)
    taken = 0
    for _ in range(150):
        plan = plan_of(luck.choice(LABS))
        changed = mutated(plan, luck)
        try:
            check_plan(changed)
            check_fabric(json.dumps(changed))
            imposed = emulation.choose(changed, luck.choice((1, 500)), lambda: True)
        except (UsageError, HostError):
            continue
        taken += 1
        changes(plan, changed)
        keep_addresses(plan, changed)
        attachments(layout_of(part_of(changed, ""), emulation.ends(changed, imposed, 500)))
        emulation.for_netem(changed, imposed)
    assert taken


class Untouched(MemoryDriver):
    """A system in which a lab that stands may be looked at, no more."""

    def reconcile(self, *_: object) -> None:
        raise AssertionError("altered")


class Lacking(Untouched):
    """A system that lacks what plans of another seed name."""

    def require(self, plan: Document) -> None:
        if plan["seed"] == 9:
            raise HostError("no image mine:1 on this machine")


def test_what_the_machine_lacks_is_reported_before_anything_is_altered() -> None:
    labs = LabOwner(cast(Any, Lacking()), lambda *_: cast(Any, MemoryFabric()), execute, check_fabric=check_fabric)
    plan = plan_of("pair")
    labs.deploy(messages.DeployBody(plan=plan, dilation=1))
    with pytest.raises(HostError, match="no image"):
        labs.deploy(messages.DeployBody(plan={**plan, "seed": 9}, dilation=1, reconcile=True))
    (row,) = labs.list()
    assert row["state"] == "running"


def two_hosts_one_station(plan: Document) -> None:
    hosts = [node for node in plan["nodes"] if node["kind"] == "host"]
    hosts[1]["station"] = hosts[0]["station"]


def a_route_to_nowhere(plan: Document) -> None:
    next(node for node in plan["nodes"] if node["kind"] == "switch")["routes"][0] = [99]


def a_port_without_weights(plan: Document) -> None:
    del plan["nodes"][0]["ports"][0]["weights"]


def a_name_of_a_topic(plan: Document) -> None:
    plan["nodes"][0]["ports"][0]["name"] = "eth1/#"


def an_option_for_an_image(plan: Document) -> None:
    plan["nodes"][0]["container"] = {"image": "--privileged", "cpu_millis": 0, "memory_bytes": 1 << 30}


def a_station_on_a_switch(plan: Document) -> None:
    number = next(number for number, node in enumerate(plan["nodes"]) if node["kind"] == "switch")
    plan["stations"][0]["node"] = number


def a_link_to_itself(plan: Document) -> None:
    plan["links"][0]["b"] = plan["links"][0]["a"]


def a_node_of_somebody_elses(plan: Document) -> None:
    plan["nodes"][0]["elsewhere"] = True


@pytest.mark.parametrize(
    ("corrupt", "said"),
    [
        (two_hosts_one_station, "host of station 0 is there twice"),
        (a_route_to_nowhere, "a route leads to a port that is not there"),
        (a_port_without_weights, "weights"),
        (a_name_of_a_topic, "nodes.0.ports.0.name"),
        (an_option_for_an_image, "nodes.0.container.image"),
        (a_station_on_a_switch, "not on a port of a host"),
        (a_link_to_itself, "is there twice"),
        (a_node_of_somebody_elses, "nodes.0.elsewhere"),
    ],
)
def test_a_plan_that_would_be_refused_changes_nothing(corrupt: Callable[[Document], None], said: str) -> None:
    driver = Untouched()
    labs = LabOwner(cast(Any, driver), lambda *_: cast(Any, MemoryFabric()), execute, check_fabric=check_fabric)
    plan = plan_of("two-dc")
    labs.deploy(messages.DeployBody(plan=plan, dilation=1))
    corrupted = copy.deepcopy(plan)
    corrupt(corrupted)
    for dry in (False, True):
        with pytest.raises(UsageError, match=said):
            labs.deploy(messages.DeployBody(plan=corrupted, dilation=1, reconcile=True, dry_run=dry))
    (row,) = labs.list()
    assert row["state"] == "running"
    assert labs.deploy(messages.DeployBody(plan=plan, dilation=1)) == {"lab": "two-dc", "changed": False}
