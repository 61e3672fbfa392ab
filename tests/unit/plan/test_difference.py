"""What differs between two plans of a lab, and the addresses that stay."""

from __future__ import annotations

import copy
from typing import Any

from testbed.drivers.containers import hosts_file
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.plan.compile import compile_fabric
from testbed.plan.difference import Change, changes, keep_addresses


def plan(topology: str, *settings: str) -> dict[str, Any]:
    experiment = new_experiment(topology, "all_reduce").with_overrides(list(settings))
    return dict(compile_fabric(load_lab(topology), experiment))


TWO_DC = "two-dc:hosts=2"


def addresses(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return MAC and IP of each station, and the MAC of each port."""
    nodes = document["nodes"]
    stations = {f"{nodes[s['node']]['name']} {s['kind']}": (s["mac"], s["ip"]) for s in document["stations"]}
    ports = {f"{node['name']}:{port['name']}": (port["mac"], "") for node in nodes for port in node["ports"]}
    # The interface of a host is its kernel's.
    hosts = {f"{nodes[s['node']]['name']}:eth1": s["mac"] for s in document["stations"] if s["kind"] == "kernel"}
    assert all(ports.pop(port)[0] == mac for port, mac in hosts.items())
    return stations | ports


def test_a_plan_does_not_differ_from_itself() -> None:
    assert changes(plan(TWO_DC), plan(TWO_DC)) == []
    assert keep_addresses(plan(TWO_DC), plan(TWO_DC)) == plan(TWO_DC)


def test_all_of_a_lab_that_is_not_there_is_added() -> None:
    additions = changes(None, plan("pair"))
    assert {change.action for change in additions} == {"add"}
    assert [change.name for change in additions if change.kind == "node"] == ["a1", "b1", "leaf"]
    assert [change.name for change in additions if change.kind == "link"] == [
        "a1:eth1 - leaf:eth1",
        "b1:eth1 - leaf:eth2",
    ]


def test_a_longer_span_changes_its_link_and_what_must_be_held_for_it() -> None:
    differences = changes(plan(TWO_DC), plan("two-dc:hosts=2,length=100km"))
    assert Change("link", "border-a:eth2 - border-b:eth2", "change", ("delay_ps",)) in differences
    held = [change for change in differences if change.kind == "node"]
    assert [change.name for change in held] == ["border-a", "border-b"]
    assert all(setting.startswith("eth2.priority") for change in held for setting in change.settings)


def test_a_host_that_comes_changes_no_other_and_takes_no_address_away() -> None:
    old, new = plan(TWO_DC), plan("two-dc:hosts=3")
    names = {change.name: change.action for change in changes(old, new) if change.kind == "node"}
    assert names.pop("a3") == "add" and names.pop("b3") == "add"
    assert not names.keys() & {"a1", "a2", "b1", "b2"}
    kept = addresses(keep_addresses(old, new))
    assert addresses(new) != kept and kept.items() >= addresses(old).items()
    macs = [mac for mac, _ in kept.values()]
    ips = [ip for _, ip in kept.values() if ip]
    assert len(set(macs)) == len(macs) and len(set(ips)) == len(ips)


def test_what_goes_and_comes_back_in_between_leaves_the_others_alone() -> None:
    large = plan("two-dc:hosts=3")
    small = keep_addresses(large, plan(TWO_DC))
    again = keep_addresses(small, plan("two-dc:hosts=3"))
    kept = addresses(small)
    assert addresses(large).items() >= kept.items() and addresses(again).items() >= kept.items()


def test_the_order_of_a_links_ends_means_nothing() -> None:
    old = plan("pair")
    old["links"][0]["loss"] = [0.1, 0.0]
    new = copy.deepcopy(old)
    link = new["links"][0]
    link["a"], link["b"], link["loss"] = link["b"], link["a"], link["loss"][::-1]
    assert changes(old, new) == []
    link["loss"] = link["loss"][::-1]
    assert [change.settings for change in changes(old, new)] == [("loss",)]


def test_settings_show_where_they_count() -> None:
    differences = changes(plan("pair"), plan("pair", "lossless.pfc=false"))
    assert any(change.name == "leaf" and "pfc" in change.settings for change in differences), differences


def test_a_hosts_file_follows_the_lab_and_keeps_what_is_not_of_it() -> None:
    before = "127.0.0.1\tlocalhost\n10.1.2.3\tmirror\n"
    first = hosts_file(before, {"a": "198.19.0.1", "b": "198.19.0.2"})
    assert first == before + "198.19.0.1\ta\n198.19.0.2\tb\n"
    # Somebody else has b's address by now, and b came back with another.
    second = hosts_file(
        hosts_file(first, {"a": "198.19.0.1", "c": "198.19.0.2"}), {"c": "198.19.0.2", "b": "198.19.0.3"}
    )
    assert second == before + "198.19.0.2\tc\n198.19.0.3\tb\n"
