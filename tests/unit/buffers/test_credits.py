"""Flow control by link, and what ends of links with credits grant each other: layers, sizes, and the plans that come of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed._dataplane import VirtualFabric
from testbed.errors import ExperimentError, TopologyError
from testbed.experiment.file import experiment_from, new_experiment
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.plan.compile import compile_fabric
from testbed.schema.source import Source, parse_yaml
from tests.unit.lab.test_switch_settings import lab_of
from tests.unit.plan.test_plan import groups, switches

Json = dict[str, Any]
FRAME_BYTES = 4218


def links_of(*links: Json, switch: Json | None = None, **sections: Any) -> Lab:
    """Return a lab of one switch and a host behind each of the links."""
    nodes: Json = {f"h{number}": {"kind": "host"} for number, _ in enumerate(links, 1)}
    nodes["sw"] = {"kind": "switch", **(switch or {})}
    wired = [{"endpoints": [f"h{n}:eth1", f"sw:eth{n}"], **link} for n, link in enumerate(links, 1)]
    return lab_from(Source("x", {"name": "x", "topology": {**sections, "nodes": nodes, "links": wired}}))


def planned(lab: Lab, *overrides: str) -> Json:
    plan = compile_fabric(lab, new_experiment("x", "incast").with_overrides(overrides))
    VirtualFabric(json.dumps(plan))  # which checks that all grants are backed
    return plan


def controls(plan: Json) -> list[str]:
    return [link.get("flow_control", "pfc") for link in plan["links"]]


@pytest.mark.parametrize(
    ("defaults", "own", "overrides", "expected"),
    [
        ({}, {}, [], "pfc"),
        ({"flow-control": "credit"}, {}, [], "credit"),
        ({"flow-control": "credit"}, {"flow-control": "none"}, [], "none"),
        ({}, {"flow-control": "credit"}, ["lossless.flow-control=pfc"], "pfc"),
        ({}, {}, ["lossless.flow-control=credit"], "credit"),
        ({}, {"flow-control": "credit"}, ["lossless.pfc=false"], "none"),
        ({}, {}, ["lossless.pfc=false", "lossless.flow-control=none"], "none"),
    ],
)
def test_the_last_word_counts(defaults: Json, own: Json, overrides: list[str], expected: str) -> None:
    lab = links_of(own, {"flow-control": "pfc"}, defaults=defaults)
    plan = planned(lab, *overrides)
    assert controls(plan)[0] == expected
    both = {"pfc"} if "pfc" in expected or not overrides else {expected}
    assert switches(plan)["sw"]["pfc"] is ("pfc" in {*both, *controls(plan)})


def test_each_port_has_what_its_link_needs() -> None:
    lab = links_of({}, {"flow-control": "credit", "credits": "128KiB"}, {"flow-control": "none"})
    plan = planned(lab)
    pfc, credit = groups(plan, "sw")
    assert pfc["port"] == 0 and pfc["headroom_bytes"] > 0 and pfc["xon_bytes"] < pfc["xoff_bytes"]
    assert credit == {"port": 1, "priority": 3, "xoff_bytes": 131_072, "xon_bytes": 131_072, "headroom_bytes": 0}
    there, back = plan["links"][1]["credits"]
    assert there == back == [{"priority": 3, "block_bytes": 64, "blocks": 2048, "update_blocks": 260}]
    assert "credits" not in plan["links"][0] and "credits" not in plan["links"][2]
    assert plan["links"][2]["flow_control"] == "none"


def test_nothing_is_reported_of_a_lab_that_runs_pfc() -> None:
    text = json.dumps(planned(load_lab("two-dc")))
    assert "flow_control" not in text and "credits" not in text


def test_blocks_are_the_cells_of_the_receiving_switch() -> None:
    plan = planned(lab_of({"profile": "tomahawk-32mb", "lossless": [3, 4]}), "lossless.flow-control=credit")
    to_switch, to_host = plan["links"][0]["credits"]
    assert [grant["priority"] for grant in to_switch] == [grant["priority"] for grant in to_host] == [3, 4]
    assert {grant["block_bytes"] for grant in to_switch} == {208} and to_host[0]["block_bytes"] == 64
    sizes = {(group["port"], group["priority"]): group["xoff_bytes"] for group in groups(plan, "sw")}
    assert sizes[0, 3] == 208 * to_switch[0]["blocks"] and len(sizes) == 4


def test_credits_lie_beside_a_pool_that_other_ports_share() -> None:
    lab = links_of({"flow-control": "credit", "credits": "1MB"}, {}, {}, switch={"profile": "azure-24mb"})
    switch = switches(planned(lab))["sw"]
    credited, *dynamic = switch["priority_groups"]
    assert credited["xoff_bytes"] == 10**6 // 64 * 64 and "alpha_log2" not in credited
    assert all("alpha_log2" in group for group in dynamic) and len(dynamic) == 2


def test_the_experiment_sizes_credits_before_the_lab() -> None:
    lab = links_of({"credits": "128KiB", "flow-control": "credit"}, {"flow-control": "credit"})

    def sizes(*overrides: str) -> list[int]:
        return [link["credits"][0][0]["blocks"] * 64 for link in planned(lab, *overrides)["links"]]

    given, derived = sizes()
    assert given == 131_072 and derived < 100_000
    assert sizes("lossless.credits=64KiB") == [65_536, 65_536]
    assert sizes("lossless.credits=auto") == [given, derived]


@pytest.mark.parametrize(
    ("switch", "overrides", "message"),
    [
        (
            {"buffer": "10MB"},
            ["lossless.flow-control=credit", "lossless.credits=5MB"],
            "10MB cannot hold the 12000000 bytes that must not be dropped: "
            "credits of eth1 priority 3 5000000 bytes, eth2 priority 3 5000000 bytes; 2000000 bytes for lossy queues",
        ),
        (
            {"buffer": "10MB", "lossless": [3, 4]},
            ["lossless.flow-control=credit"],
            "credits of eth1 priority 3 12",
        ),
    ],
)
def test_what_a_buffer_cannot_hold_is_refused_by_port_and_bytes(
    switch: Json, overrides: list[str], message: str
) -> None:
    with pytest.raises(TopologyError) as error:
        planned(lab_of(switch, length="100km"), *overrides)
    assert message in str(error.value) and "topology.nodes.sw.buffer" in str(error.value)


def test_credits_hold_a_frame_at_least() -> None:
    lab = links_of({}, {"flow-control": "credit", "credits": "4200"})
    message = "credits of 4160 bytes, and a frame on h2:eth1 - sw:eth2 takes up to 4224"
    with pytest.raises(TopologyError) as error:
        planned(lab)
    assert str(error.value) == f"lab x: topology.links[1].credits: {message}"
    with pytest.raises(ExperimentError) as wrong:
        planned(lab, "lossless.flow-control=credit", "lossless.credits=0")
    assert str(wrong.value).startswith("--set: lossless.credits: credits of 0 bytes, and a frame on h1:eth1 - sw:eth1")
    assert planned(lab, "lossless.credits=4224")["links"][1]["credits"][0][0]["update_blocks"] == 1


def test_contradictions_are_faults_with_their_line() -> None:
    text = "topology: pair\nlossless:\n  pfc: false\n  flow-control: credit\n"
    with pytest.raises(ExperimentError) as error:
        experiment_from(parse_yaml(text, "e.yaml", ExperimentError))
    assert str(error.value) == "e.yaml:2: lossless: pfc: false means flow-control: none for every link, not credit"
    with pytest.raises(ExperimentError, match='"pause" is not "pfc", "credit" or "none"'):
        new_experiment("x", "incast").with_overrides(["lossless.flow-control=pause"])
    with pytest.raises(TopologyError) as wrong:
        links_of({"flow-control": "credits"}, {"credits": "much"})
    assert 'topology.links[0].flow-control: "credits" is not "pfc", "credit" or "none"' in str(wrong.value)
    assert "topology.links[1].credits" in str(wrong.value)


@given(
    st.integers(0, 3 * 10**9),
    st.sampled_from(["10G", "100G", "400G"]),
    st.sampled_from([1024, 4096]),
    st.integers(66, 10**6),
)
def test_any_window_is_updated_before_a_frame_could_need_it(length_mm: int, rate: str, mtu: int, blocks: int) -> None:
    link: Json = {"length": f"{length_mm}mm", "rate": rate, "flow-control": "credit"}
    for own, settings in (({}, []), ({"credits": str(blocks * 64)}, [f"transport.mtu={mtu}"])):
        plan = planned(links_of({**link, **own}, {}, switch={"buffer": "auto"}), *settings)
        (grant,), (back,) = plan["links"][0]["credits"]
        assert grant == back and 1 <= grant["update_blocks"] <= grant["blocks"] - -(-FRAME_BYTES // 64) + 1
        assert grant["update_blocks"] >= min(grant["blocks"] // 64, grant["blocks"] - 65)
        if own:
            assert grant["blocks"] == blocks
