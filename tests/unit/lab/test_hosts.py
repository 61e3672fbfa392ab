"""Hosts with several ports and accelerators, and the ranks that files name on them."""

import pytest

from testbed.errors import TopologyError
from testbed.lab.hosts import Host, Local
from testbed.lab.ranks import check_pattern, expand, select
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.plan.routing import Routing
from testbed.schema.source import parse_yaml

SUPER_NODE = """
name: super
topology:
  defaults: {rate: 400G}
  kinds: {host: {accelerators: 2, local: {rate: 7.2T}}}
  nodes:
    a: {kind: host, domain: nv1}
    b: {kind: host, domain: nv1, ports: {scale-up: [eth4, eth3]}, nic: {rate: 100G, drain: 90G}}
    c: {kind: host, accelerators: 1, local: {latency: 250ns}}
    nvl: {kind: switch, domain: nv1}
    leaf1: {kind: switch}
    leaf2: {kind: switch, routes: {"a:eth1": eth3, "a:eth2": eth1}}
  links:
    - {endpoints: ["a:eth1", "leaf1:eth1"]}
    - {endpoints: ["a:eth2", "leaf2:eth1"]}
    - {endpoints: ["a:eth3", "nvl:eth1"], rate: 1.6T}
    - {endpoints: ["a:eth4", "nvl:eth2"], rate: 1.6T}
    - {endpoints: ["b:eth1", "leaf1:eth2"]}
    - {endpoints: ["b:eth2", "leaf2:eth2"]}
    - {endpoints: ["b:eth3", "nvl:eth3"], rate: 1.6T}
    - {endpoints: ["b:eth4", "nvl:eth4"], rate: 1.6T}
    - {endpoints: ["leaf1:eth3", "leaf2:eth3"]}
    - {endpoints: ["c:eth1", "b:eth5"]}
"""


def lab(text: str = SUPER_NODE) -> Lab:
    return lab_from(parse_yaml(text, "lab.yaml", TopologyError))


def hosts(checked: Lab) -> dict[str, Host]:
    return {host.name: host for host in checked.hosts}


def test_ports_are_of_the_fabric_that_their_links_lead_to_or_that_the_file_says() -> None:
    by_name = hosts(lab())
    assert (by_name["a"].scale_out, by_name["a"].scale_up) == (("eth1", "eth2"), ("eth3", "eth4"))
    assert (by_name["b"].scale_out, by_name["b"].scale_up) == (("eth1", "eth2", "eth5"), ("eth4", "eth3"))
    assert (by_name["c"].scale_out, by_name["c"].scale_up) == (("eth1",), ())
    assert [host.accelerators for host in by_name.values()] == [2, 2, 1]
    assert by_name["a"].ports("scale-up") == ("eth3", "eth4") and by_name["a"].ports("scale-out") == ("eth1", "eth2")


def test_a_nic_s_rate_bounds_links_of_scale_out_ports_alone() -> None:
    rates = {str(link.a): link.rate_bps // 10**9 for link in lab().links}
    assert rates["b:eth1"] == 100 and rates["b:eth3"] == 1600 and rates["a:eth1"] == 400
    with pytest.raises(TopologyError, match=r"links\[5\].rate: 400G is faster than the NIC of b, 100G"):
        lab(SUPER_NODE.replace('["b:eth2", "leaf2:eth2"]}', '["b:eth2", "leaf2:eth2"], rate: 400G}'))


def test_copies_within_a_host_follow_its_settings() -> None:
    by_name = hosts(lab())
    assert by_name["a"].local == Local(rate_bps=7_200 * 10**9, latency_ps=10**6)
    assert by_name["c"].local == Local(rate_bps=7_200 * 10**9, latency_ps=250_000)
    bare = hosts(lab(SUPER_NODE.replace(", local: {rate: 7.2T}", "").replace(", local: {latency: 250ns}", "")))
    assert bare["a"].local is None, "it has scale-up ports"
    assert bare["c"].local == Local(rate_bps=3_600 * 10**9, latency_ps=10**6)


def test_routes_lead_to_each_port_of_a_host() -> None:
    checked = lab()
    assert [str(end) for end in checked.nics] == [
        *(f"a:eth{number}" for number in range(1, 5)),
        *(f"b:eth{number}" for number in range(1, 6)),
        "c:eth1",
    ]
    routing = Routing(checked)
    assert routing.routes("leaf1") == [[0], [2], [], [], [1], [2], [], [], [], []]
    assert routing.routes("leaf2") == [[2], [0], [], [], [2], [1], [], [], [], []]
    assert routing.routes("nvl") == [[], [], [0], [1], [], [], [2], [3], [], []]


def test_a_host_of_one_port_is_as_it_was() -> None:
    for host in load_lab("two-dc").hosts:
        assert host.accelerators == 1 and host.domain is None
        assert (host.scale_out, host.scale_up, host.local) == (("eth1",), (), Local())


@pytest.mark.parametrize(
    ("pattern", "expanded"),
    [
        ("h1", ["h1"]),
        ("h1/3", ["h1/3"]),
        ("s[1-3]", ["s1", "s2", "s3"]),
        ("s[1,3-4]/[0-1]", ["s1/0", "s1/1", "s3/0", "s3/1", "s4/0", "s4/1"]),
        ("s[08-11]", ["s08", "s09", "s10", "s11"]),
        ("r[1-2]-n[1-2]", ["r1-n1", "r1-n2", "r2-n1", "r2-n2"]),
    ],
)
def test_patterns_stand_for_ranks(pattern: str, expanded: list[str]) -> None:
    assert expand(check_pattern(pattern)) == expanded


@pytest.mark.parametrize("text", ["", "h1/", "/1", "s[1-", "s[3-1]", "s[a-b]", "H1", "h1/x", "h[0-99999999]", 3])
def test_what_is_no_pattern_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"is not a rank|is empty|stands for more"):
        check_pattern(text)


def test_a_host_without_a_number_stands_for_all_of_its_accelerators() -> None:
    by_name = hosts(lab())
    ranks, faults = select(["c", "a/1", "b"], by_name)
    assert (list(map(str, ranks)), faults) == (["c", "a/1", "b/0", "b/1"], [])
    assert select(["a/[1-2]", "c/1", "d/0"], by_name) == (
        ranks[1:2],
        [
            "no rank a/2: a has 2 accelerators, and they count from 0",
            "no rank c/1: c has 1 accelerator, and they count from 0",
            'no host "d"; known: a, b, c',
        ],
    )
