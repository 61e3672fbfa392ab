"""Generators: every parameter in range gives a sound lab of the promised size."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed import topologies
from testbed.buffers.deadlock import find_cycles
from testbed.errors import UsageError
from testbed.experiment.file import new_experiment
from testbed.lab.endpoints import Endpoint
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.plan.compile import compile_fabric
from testbed.schema.source import Source


def generated(name: str, **parameters: Any) -> Lab:
    data = topologies.generate(name, {key: str(value) for key, value in parameters.items()})
    return lab_from(Source(name, data))


def size(lab: Lab) -> tuple[int, int, int]:
    return len(lab.hosts), len(lab.switches), len(lab.links)


@pytest.mark.parametrize("name", topologies.generators())
def test_every_generator_works_without_parameters(name: str) -> None:
    assert load_lab(name).name == name


@settings(max_examples=40)
@given(st.sampled_from(sorted(topologies.generators())), st.data())
def test_parameters_in_range_give_sound_labs(name: str, data: st.DataObject) -> None:
    parameters: dict[str, str] = {}
    for key, parameter in topologies.generators()[name].parameters.items():
        if isinstance(parameter.default, int) and data.draw(st.booleans(), label=key):
            value = data.draw(st.integers(parameter.low, min(parameter.high, 8)), label=key)
            parameters[key] = str(value + value % 2 if key == "radix" else value)
    lab = generated(name, **parameters)
    assert all(len(host.scale_out) == host.accelerators for host in lab.hosts)
    assert len({end for link in lab.links for end in (link.a, link.b)}) == 2 * len(lab.links)


@given(st.integers(1, 6))
def test_two_dc_has_the_promised_size(hosts: int) -> None:
    lab = generated("two-dc", hosts=hosts)
    assert size(lab) == (2 * hosts, 4, 2 * hosts + 3)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
def test_clos_joins_every_leaf_with_every_spine(spines: int, leaves: int, hosts: int) -> None:
    lab = generated("clos", spines=spines, leaves=leaves, hosts=hosts)
    assert size(lab) == (leaves * hosts, leaves + spines, leaves * hosts + leaves * spines)
    assert all(len(lab.ports[f"spine{index}"]) == leaves for index in range(1, spines + 1))


@pytest.mark.parametrize("radix", [2, 4, 6])
def test_fat_tree_uses_every_port(radix: int) -> None:
    lab = generated("clos", tiers=3, radix=radix)
    assert size(lab) == (radix**3 // 4, 5 * radix**2 // 4, 3 * radix**3 // 4)
    assert all(len(lab.ports[switch.name]) == radix for switch in lab.switches)
    assert all((link.rate_bps, link.delay_ps) == (100 * 10**9, 10**6) for link in lab.links)


def test_ring_and_incast_and_pair() -> None:
    assert size(generated("ring", switches=5, hosts=2)) == (10, 5, 15)
    assert size(generated("incast", senders=3)) == (4, 1, 4)
    assert generated("incast").hosts[0].name == "r1"
    assert size(generated("pair")) == (2, 1, 2)


def test_a_lab_can_be_called_otherwise_and_reach_farther() -> None:
    lab = load_lab("two-dc:name=far,length=300km,rate=400G")
    assert lab.name == "far"
    assert lab.links[-1].length_mm == 300_000_000 and {link.rate_bps for link in lab.links} == {400 * 10**9}


def profiles_of(lab: Lab) -> list[str | None]:
    return [link.optics.profile if link.optics else None for link in lab.links]


@pytest.mark.parametrize("name", ["pair", "incast", "clos", "clos:tiers=3", "ring"])
def test_every_link_can_have_a_profile_and_its_rate(name: str) -> None:
    colon = "," if ":" in name else ":"
    lab = load_lab(f"{name}{colon}profile=400g-dr4")
    assert set(profiles_of(lab)) == {"400g-dr4"}
    assert {(link.rate_bps, link.length_mm) for link in lab.links} == {(400 * 10**9, 50_000)}
    with pytest.raises(UsageError, match="400g-dr4 has no 100G, only 400G"):
        load_lab(f"{name}{colon}profile=400g-dr4,rate=100G")


def test_two_dc_has_a_profile_for_its_span_and_one_for_the_rest() -> None:
    lab = load_lab("two-dc:profile=400g-zr,local-profile=800g-dr8,length=120km")
    assert profiles_of(lab) == ["800g-dr8"] * 6 + ["400g-zr"]
    assert [link.rate_bps // 10**9 for link in lab.links] == [800] * 6 + [400]
    span_only = load_lab("two-dc:profile=400g-zr")
    assert [link.rate_bps // 10**9 for link in span_only.links] == [100] * 6 + [400]
    with pytest.raises(UsageError, match=r"120\.1km is beyond the reach of 400g-zr, 120km"):
        load_lab("two-dc:profile=400g-zr,length=120.1km")


def test_clos_has_a_delay_or_a_length() -> None:
    assert {link.length_mm for link in load_lab("clos:length=7m").links} == {7_000}
    assert {link.delay_ps for link in load_lab("clos:profile=400g-dr4,delay=3us").links} == {3 * 10**6}
    with pytest.raises(UsageError, match="not both"):
        load_lab("clos:length=7m,delay=1us")


def test_circuits_carry_the_rate_that_is_set() -> None:
    assert {link.rate_bps for link in load_lab("pair:profile=ocs").links} == {100 * 10**9}
    assert {link.rate_bps for link in load_lab("pair:profile=ocs,rate=400G").links} == {400 * 10**9}


def spans(lab: Lab) -> list[tuple[str, int | None]]:
    return [(f"{link.a.node}-{link.b.node}", link.length_mm) for link in lab.links if link.a.node.startswith("border")]


def test_a_dumbbell_has_one_link_in_the_middle() -> None:
    lab = load_lab("dumbbell:hosts=3,bottleneck=25G,length=2km,loss=1%")
    assert size(lab) == (6, 2, 7)
    middle = lab.links[-1]
    assert (middle.a.node, middle.b.node, middle.rate_bps, middle.length_mm) == ("left", "right", 25 * 10**9, 2_000_000)
    assert middle.loss == (0.01, 0.01)
    assert {link.rate_bps for link in lab.links[:-1]} == {100 * 10**9}
    assert load_lab("dumbbell").links[-1].rate_bps == 100 * 10**9
    mixed = load_lab("dumbbell:profile=400g-fr4,local-profile=800g-dr8")
    assert [link.rate_bps // 10**9 for link in mixed.links] == [800] * 8 + [400]


def test_sites_are_joined_in_a_ring_a_mesh_or_a_chain_with_a_length_for_each_span() -> None:
    ring = load_lab("multi-dc:sites=3,hosts=4,length=80km/300km/1km")
    assert size(ring) == (12, 6, 18)
    assert spans(ring) == [
        ("border-a-border-b", 80_000_000),
        ("border-b-border-c", 300_000_000),
        ("border-c-border-a", 1_000_000),
    ]
    mesh = load_lab("multi-dc:shape=mesh,sites=5")
    assert len(spans(mesh)) == len(set(spans(mesh))) == 10 and {length for _, length in spans(mesh)} == {80_000_000}
    chain = load_lab("multi-dc:shape=chain,length=1km/2km/3km")
    assert [length for _, length in spans(chain)] == [1_000_000, 2_000_000, 3_000_000]
    assert len(spans(load_lab("multi-dc:sites=2"))) == 1, "a ring of two is one span"
    with pytest.raises(UsageError, match="one for each of 4 spans, not 3"):
        load_lab("multi-dc:length=80km/300km/1km")
    with pytest.raises(UsageError, match='shape must be ring, mesh or chain, not "star"'):
        load_lab("multi-dc:shape=star")


@pytest.mark.parametrize(("groups", "routers", "trunk"), [(9, 4, 1), (5, 4, 2), (2, 1, 1), (8, 3, 3)])
def test_every_two_groups_of_a_dragonfly_are_joined_and_switches_share_the_links(
    groups: int, routers: int, trunk: int
) -> None:
    lab = generated("dragonfly", groups=groups, routers=routers, trunk=trunk, hosts=2)
    switches = [switch.name for switch in lab.switches]
    assert (len(lab.hosts), len(switches)) == (2 * groups * routers, groups * routers)
    between = Counter[tuple[str, str]]()
    globals_of = Counter(dict.fromkeys(switches, 0))
    for link in lab.links:
        a, b = link.a.node.split("-")[0], link.b.node.split("-")[0]
        if not a.startswith("h") and a != b:
            between[min(a, b), max(a, b)] += 1
            globals_of.update([link.a.node, link.b.node])
    assert len(between) == groups * (groups - 1) // 2 and set(between.values()) == {trunk}
    assert max(globals_of.values()) - min(globals_of.values()) <= 1
    if (groups, routers, trunk) == (9, 4, 1):
        assert set(globals_of.values()) == {2}, "a = 2p = 2h"
        assert {len(lab.ports[name]) for name in switches} == {2 + 3 + 2}


@pytest.mark.parametrize("spec", ["multi-dc:sites=6", "multi-dc:shape=mesh", "dragonfly", "dragonfly:groups=5,trunk=2"])
def test_default_routes_cannot_deadlock(spec: str) -> None:
    plan = compile_fabric(load_lab(spec), new_experiment(spec, "all_reduce"))
    assert find_cycles(plan, [3]) == []
    assert all(ports for node in plan["nodes"] if node["kind"] == "switch" for ports in node["routes"])


@pytest.mark.parametrize("spec", ["multi-dc:routing=shortest", "dragonfly:routing=shortest"])
def test_the_deadlock_check_says_what_shortest_paths_bring(spec: str) -> None:
    assert find_cycles(compile_fabric(load_lab(spec), new_experiment(spec, "all_reduce")), [3])


def scale_up(lab: Lab) -> dict[str, int]:
    """Return how many scale-up ports lead to each switch."""
    ends = {Endpoint(host.name, port) for host in lab.hosts for port in host.scale_up}
    return Counter(link.b.node for link in lab.links if link.a in ends)


def test_each_accelerator_of_a_rail_lab_is_at_home_on_its_rail() -> None:
    lab = load_lab("rail:servers=4,accelerators=3,spines=2")
    assert size(lab) == (4, 5, 12 + 6)
    for host in lab.hosts:
        assert (host.accelerators, host.scale_out, host.scale_up) == (3, ("eth1", "eth2", "eth3"), ())
        assert host.local is not None and host.local.rate_bps == 3_600 * 10**9
    homes = {(link.a.port, link.b.node) for link in lab.links[:12]}
    assert homes == {("eth1", "rail1"), ("eth2", "rail2"), ("eth3", "rail3")}
    assert {link.rate_bps // 10**9 for link in lab.links} == {400}


def test_servers_of_a_rail_lab_can_be_in_domains() -> None:
    lab = load_lab("rail:servers=5,accelerators=2,domain=2,up-profile=microled-1600g,switch=tomahawk-5")
    assert [host.domain for host in lab.hosts] == ["d1", "d1", "d2", "d2", "d3"]
    assert scale_up(lab) == {"d1-up": 4, "d2-up": 4, "d3-up": 2}
    assert {(link.rate_bps // 10**9, link.flow_control) for link in lab.links if link.b.node.endswith("up")} == {
        (1600, "credit")
    }
    assert {switch.buffer_bytes for switch in lab.switches if switch.domain is None} == {167_546_528}


def test_domains_of_a_super_node_have_any_size() -> None:
    lab = load_lab("super-node:domains=3,size=20,accelerators=8,spines=2")
    assert [host.accelerators for host in lab.hosts] == [8, 8, 4] * 3
    assert scale_up(lab) == {"d1-up": 20, "d2-up": 20, "d3-up": 20}
    leaves = [switch.name for switch in lab.switches if switch.name.startswith("rail")]
    assert [len(lab.ports[name]) for name in leaves] == [9 + 2] * 4 + [6 + 2] * 4, "the last servers have four rails"
    assert {link.rate_bps // 10**9 for link in lab.links if link.b.node == "d1-up"} == {3600}
    large = load_lab("super-node:domains=1,size=1024,accelerators=64")
    assert scale_up(large) == {"d1-up": 1024} and len(large.hosts) == 16


def test_a_super_node_can_have_half_of_its_domains_at_another_site() -> None:
    lab = load_lab("super-node:domains=3,size=4,accelerators=2,spines=1,span=80km,span-profile=400g-zr")
    between = lab.links[[str(link.a.node) for link in lab.links].index("border-a")]
    assert (between.b.node, between.length_mm, between.optics and between.optics.profile) == (
        "border-b",
        80_000_000,
        "400g-zr",
    )
    site_of = {link.a.node.split("-")[0]: link.b.node[-1] for link in lab.links if link.b.node.startswith("rail")}
    assert site_of == {"d1": "a", "d2": "a", "d3": "b"}
    assert not [switch for switch in load_lab("super-node").switches if switch.name.startswith("border")]
    assert len(load_lab("super-node:domains=1,span=80km").switches) == 8 + 4 + 1, "one domain is at one site"
