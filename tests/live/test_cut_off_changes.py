"""A change of a lab that is cut off anywhere, as by a kill, leaves what the old plan or the new one can still be made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from testbed.drivers import alteration, building, construction
from testbed.drivers.construction import Construction
from testbed.drivers.inhabitants import Inhabitants
from testbed.drivers.layout import FIRST_INDEX
from testbed.drivers.netns import NetnsDriver
from testbed.experiment.file import new_experiment
from testbed.lab.topology import lab_from
from testbed.plan.compile import compile_fabric
from testbed.plan.difference import keep_addresses
from testbed.schema.source import Source
from testbed.system import namespaces, qdisc
from tests.live.netns_lab import inside, isolated

Plan = dict[str, Any]


def plan_of(hosts: dict[str, str], mtu: int) -> Plan:
    """Return the plan of a lab with these hosts, each at a port of one of two switches, and links of this MTU."""
    links = [[f"{host}:eth1", port] for host, port in hosts.items()] + [["leaf:eth9", "spine:eth9"]]
    nodes = {host: {"kind": "host"} for host in hosts} | {name: {"kind": "switch"} for name in ("leaf", "spine")}
    topology = {"defaults": {"mtu": mtu}, "nodes": nodes, "links": [{"endpoints": ends} for ends in links]}
    lab = lab_from(Source("test", {"name": "cut", "topology": topology}))
    settings = new_experiment("test", "all_reduce").with_overrides(["emulation=native"])
    return dict(json.loads(json.dumps(compile_fabric(lab, settings))))


class Killed(BaseException):
    """What a kill comes to, but that descriptors are closed here and not by the kernel."""


class Traffic:
    """What carries nothing, and can be cut off."""

    def __init__(self) -> None:
        self.leaving: set[tuple[str, str]] = set()

    def quiesce(self, leaving: Collection[tuple[str, str]]) -> None:
        """Arrive at once."""
        self.leaving = set(leaving)

    def lose(self, port: str, cause: str, frames: int) -> None:
        """Lose nothing."""
        assert frames == 0, (port, cause)

    def replace(self, attachments: object) -> None:
        """Hear nothing."""


BEFORE = plan_of({"a1": "leaf:eth1", "b1": "leaf:eth2", "c1": "spine:eth1", "d1": "leaf:eth3"}, 4200)
# b1 has another name, c1 another peer, d1 is gone, e1 new, and all is smaller.
AFTER = keep_addresses(
    BEFORE, plan_of({"a1": "leaf:eth1", "z1": "leaf:eth2", "c1": "leaf:eth4", "e1": "leaf:eth5"}, 1500)
)

POINTS: list[tuple[Any, str]] = [
    (Inhabitants, "make"),
    (construction, "quiesce"),
    (Traffic, "quiesce"),
    (Construction, "_take_out"),
    (building, "create_links"),
    (building, "configure_all"),
    (alteration, "_restore"),
    (building, "await_links"),
    (Traffic, "replace"),
    (building, "give_addresses"),
    (Inhabitants, "introduce"),
]


def cut_off(point: tuple[Any, str], after: bool) -> None:
    """Change the lab and be killed before that step, or after it where it is taken first."""

    def killed(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            if after:
                step(*arguments)
            raise Killed

        return run

    owner, name = point
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, killed(getattr(owner, name)))
        with pytest.raises(Killed):
            NetnsDriver().reconcile(AFTER, BEFORE, 1000, traffic=Traffic())


def assert_stands(plan: Plan) -> None:
    """Insist that a lab is as planned to the last interface, and that its hosts know the way."""
    driver = NetnsDriver()
    driver.deploy(plan, 1000)  # raises if anything differs
    for host in (node["name"] for node in plan["nodes"] if node["kind"] == "host"):
        (route,) = inside("cut", host, Path("/proc/thread-self/net/route").read_text).splitlines()[1:]
        interface, subnet, _gateway, _flags, _references, _use, _metric, mask, mtu = route.split()[:9]
        assert (interface, subnet, mask, mtu) == ("eth1", "000012C6", "0000FEFF", "0"), (host, route)
    assert sorted(driver.list_labs()["cut"]) == sorted(node["name"] for node in plan["nodes"])


@pytest.mark.parametrize("wanted", [BEFORE, AFTER], ids=["as-it-was", "as-it-shall-be"])
def test_what_a_change_that_was_cut_off_left_can_be_mended(require_root: None, wanted: Plan) -> None:
    @isolated
    def check() -> None:
        for point in POINTS:
            for after in (False, True):
                NetnsDriver().deploy(BEFORE, 1000)
                cut_off(point, after)
                NetnsDriver().reconcile(wanted, BEFORE, 1000)
                assert_stands(wanted)
                NetnsDriver().destroy("cut")

    check()


@isolated
def test_what_is_to_leave_by_a_queue_that_is_replaced_leaves_before() -> None:
    NetnsDriver().deploy(BEFORE, 1000)
    (namespace,) = [each for each in namespaces.open_namespaces("cut") if each.node == "a1"]
    qdisc.set_qdisc(namespace.netlink, FIRST_INDEX, qdisc.Qdisc("pfifo", (64).to_bytes(4, "little"), 0x70000))
    traffic = Traffic()
    NetnsDriver().reconcile(BEFORE, BEFORE, 1000, traffic=traffic)
    assert traffic.leaving == {("a1", "eth1"), ("leaf", "eth1")}
    assert_stands(BEFORE)
    NetnsDriver().reconcile(BEFORE, BEFORE, 1000, traffic=traffic)
    assert traffic.leaving == set()
