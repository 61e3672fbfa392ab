"""Plans: as read by a person, the same every time, and never promising memory that is not there."""

import ipaddress
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.buffers.headroom import headroom
from testbed.errors import ExperimentError, TopologyError
from testbed.experiment.file import Experiment, new_experiment
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.plan.compile import chosen_ranks, compile_fabric, dscp_of, ideal_busbw
from testbed.schema.source import Source
from tests.golden_files import GOLDEN, check_golden

ALL = ["pair", "incast", "two-dc", "clos", "clos:tiers=3", "ring", "three-leaves", "two-dc:length=3000km,rate=400G"]


def experiment(*overrides: str) -> Experiment:
    return new_experiment("any", "all_reduce").with_overrides(overrides)


def switches(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for node in plan["nodes"] if node["kind"] == "switch"}


def groups(plan: dict[str, Any], switch: str) -> list[dict[str, Any]]:
    priority_groups: list[dict[str, Any]] = switches(plan)[switch]["priority_groups"]
    return priority_groups


def readable(document: Any) -> str:
    """Write a document as JSON with one line for every innermost list or mapping."""
    if isinstance(document, dict) and any(isinstance(value, list | dict) for value in document.values()):
        body = ",\n".join(f"{json.dumps(key)}: {readable(value)}" for key, value in document.items())
    elif isinstance(document, list) and any(isinstance(value, list | dict) for value in document):
        body = ",\n".join(readable(value) for value in document)
    else:
        return json.dumps(document)
    opening, closing = ("{", "}") if isinstance(document, dict) else ("[", "]")
    indented = "\n".join(f"  {line}" for line in body.splitlines())
    return f"{opening}\n{indented}\n{closing}"


@pytest.mark.parametrize("name", ["pair", "two-dc"])
def test_golden_plans(name: str) -> None:
    plan = compile_fabric(load_lab(name), experiment("seed=7"))
    check_golden(GOLDEN / "plans" / f"{name}.json", readable(plan) + "\n")
    assert json.loads(readable(plan)) == plan


@pytest.mark.parametrize("spec", ALL)
def test_a_plan_is_the_same_every_time_and_fits_its_memory(spec: str) -> None:
    lab = load_lab(spec)
    plan = compile_fabric(lab, experiment())
    assert json.dumps(plan) == json.dumps(compile_fabric(load_lab(spec), experiment()))
    for switch in switches(plan).values():
        held = sum(group["xoff_bytes"] + group["headroom_bytes"] for group in switch["priority_groups"])
        assert held + switch["lossy_queue_bytes"] * len(switch["ports"]) <= switch["buffer_bytes"]
        assert len(switch["priority_groups"]) == len(switch["ports"]) * len(switch["lossless"])
        assert all(0 <= group["xon_bytes"] <= group["xoff_bytes"] for group in switch["priority_groups"])
        assert all(group["xoff_bytes"] >= 2 * 4218 for group in switch["priority_groups"])


@pytest.mark.parametrize("spec", ALL)
def test_addresses_are_unique_local_and_in_the_range_for_benchmarks(spec: str) -> None:
    plan = compile_fabric(load_lab(spec), experiment())
    macs = [station["mac"] for station in plan["stations"]]
    macs += [port["mac"] for switch in switches(plan).values() for port in switch["ports"]]
    assert len(set(macs)) == len(macs) and all(mac.startswith("02:") for mac in macs)
    addresses = [ipaddress.IPv4Address(station["ip"]) for station in plan["stations"]]
    assert len(set(addresses)) == len(addresses)
    assert all(address in ipaddress.IPv4Network("198.18.0.0/15") for address in addresses)


def test_labs_side_by_side_have_different_addresses() -> None:
    one, other = (compile_fabric(load_lab(f"pair:name={name}"), experiment()) for name in ("one", "other"))
    assert not {s["mac"] for s in one["stations"]} & {s["mac"] for s in other["stations"]}


def test_a_hosts_port_is_its_kernels_interface_and_its_station_its_nic() -> None:
    plan = compile_fabric(load_lab("two-dc"), experiment())
    for index, node in enumerate(plan["nodes"]):
        if node["kind"] == "host":
            nic, kernel = (s for s in plan["stations"] if s["name"] == node["name"])
            assert (nic["kind"], kernel["kind"], kernel["mac"]) == ("nic", "kernel", node["ports"][0]["mac"])
            assert plan["stations"][node["station"]] == nic and nic["node"] == kernel["node"] == index


def test_headroom_covers_the_span() -> None:
    plan = compile_fabric(load_lab("two-dc"), experiment())
    span = plan["links"][-1]
    near, far = groups(plan, "border-a")
    assert far["headroom_bytes"] == headroom(100 * 10**9, span["delay_ps"], 4218).total_bytes + 4218
    assert far["xon_bytes"] * 8 * 10**12 >= 2 * span["delay_ps"] * 100 * 10**9  # the span stays full while it waits
    assert near["headroom_bytes"] < 100_000
    assert switches(plan)["border-a"]["ports"][1]["response_ps"] == 2_017_280


def test_without_pfc_the_priority_stays_named_lossless_and_has_no_group() -> None:
    leaf = switches(compile_fabric(load_lab("pair"), experiment("lossless.pfc=false")))["leaf"]
    assert (leaf["pfc"], leaf["lossless"], leaf["priority_groups"]) == (False, [3], [])


def test_the_experiment_wins_over_the_switch_and_the_switch_over_the_link() -> None:
    data = {
        "name": "x",
        "topology": {
            "kinds": {"switch": {"thresholds": {"xoff": "50KB", "headroom": "60KB"}}},
            "nodes": {"a": {"kind": "host"}, "s": {"kind": "switch"}},
            "links": [{"endpoints": ["a:eth1", "s:eth1"]}],
        },
    }
    lab = lab_from(Source("x", data))
    (group,) = groups(compile_fabric(lab, experiment("lossless.xoff=70KB")), "s")
    assert (group["xoff_bytes"], group["headroom_bytes"]) == (70_000, 60_000)
    assert group["xon_bytes"] == 70_000 - 2 * 4218
    (group,) = groups(compile_fabric(lab, experiment("lossless.xon=90KB")), "s")
    assert (group["xoff_bytes"], group["xon_bytes"]) == (50_000, 50_000)


def with_buffer(buffer: str) -> Lab:
    nodes = {"a": {"kind": "host"}, "b": {"kind": "host"}, "s": {"kind": "switch", "buffer": buffer}}
    links = [{"endpoints": [f"{host}:eth1", f"s:eth{index}"], "length": "80km"} for index, host in enumerate("ab", 1)]
    return lab_from(Source("x", {"name": "x", "topology": {"nodes": nodes, "links": links}}))


def test_a_buffer_too_small_is_an_error_that_names_ports_and_bytes() -> None:
    with pytest.raises(TopologyError) as caught:
        compile_fabric(with_buffer("20MB"), experiment())
    assert str(caught.value) == (
        "lab x: topology.nodes.s.buffer: 20MB cannot hold the 21680860 bytes that must not be dropped: "
        "headroom of eth1 priority 3 9831994 bytes, eth2 priority 3 9831994 bytes; XOFF thresholds; "
        "2000000 bytes for lossy queues. Give a deeper buffer, or buffer: auto"
    )


@given(st.integers(21_700, 60_000))
def test_a_scarce_buffer_is_shared_and_used_up(kilobytes: int) -> None:
    plan = compile_fabric(with_buffer(f"{kilobytes}KB"), experiment())
    first, second = groups(plan, "s")
    assert first["xoff_bytes"] == second["xoff_bytes"] >= 2 * 4218
    used = 2 * (first["xoff_bytes"] + first["headroom_bytes"] + switches(plan)["s"]["lossy_queue_bytes"])
    assert used <= kilobytes * 1000
    wished = 9_836_212  # a round trip and two frames: more than that is no use
    assert first["xoff_bytes"] == wished or kilobytes * 1000 - used < 4


def test_the_priority_must_be_lossless_everywhere() -> None:
    with pytest.raises(ExperimentError, match="priority 4 is not lossless on leaf-a, leaf-b, border-a, border-b"):
        compile_fabric(load_lab("two-dc"), experiment("lossless.priority=4"))


def test_the_seed_changes_how_flows_spread_and_nothing_else() -> None:
    one, other = (compile_fabric(load_lab("clos"), experiment(f"seed={seed}")) for seed in (1, 2))
    assert one["nodes"] != other["nodes"]
    for switch in (*switches(one).values(), *switches(other).values()):
        switch.pop("hash_seed")
    assert one["nodes"] == other["nodes"] and one["links"] == other["links"]


def test_response_can_be_given() -> None:
    slow, quick = (compile_fabric(load_lab("pair"), experiment(f"lossless.response={t}")) for t in ("10us", "0"))
    assert switches(slow)["leaf"]["ports"][0]["response_ps"] == 10_000_000
    more = groups(slow, "leaf")[0]["headroom_bytes"] - groups(quick, "leaf")[0]["headroom_bytes"]
    assert more == 125_000  # 10 us at 100 Gb/s


def test_links_with_a_profile_say_how_they_lose_frames_and_whether_they_are_up() -> None:
    lab = load_lab("pair:profile=800g-dr8")
    dark = lab.links[1].model_copy(update={"carrier": False, "loss_process": None, "loss": (0.5, 0.0)})
    plan = compile_fabric(lab.model_copy(update={"links": (lab.links[0], dark)}), experiment())
    process = lab.links[0].loss_process
    assert process is not None and process.rate_bps == 800 * 10**9
    assert plan["links"][0]["loss_process"] == [process.plan(), process.plan()] and "carrier" not in plan["links"][0]
    assert plan["links"][1]["carrier"] is False and "loss_process" not in plan["links"][1]
    assert {port["rate_bps"] for node in plan["nodes"] for port in node["ports"]} == {800 * 10**9}


def test_dscp_and_priority_agree() -> None:
    lab = load_lab("pair")
    table = switches(compile_fabric(lab, experiment()))["leaf"]["dscp_to_priority"]
    assert len(table) == 64 and [table[dscp_of(lab, priority)] for priority in range(8)] == list(range(8))
    assert dscp_of(lab, 3) == 24


def test_ranks_run_on_the_hosts_named_or_on_all() -> None:
    lab = load_lab("two-dc")
    assert tuple(map(str, chosen_ranks(lab, experiment()))) == ("a1", "a2", "b1", "b2")
    assert tuple(map(str, chosen_ranks(lab, experiment("workload.ranks=[b1, a1]")))) == ("b1", "a1")
    with pytest.raises(ExperimentError, match='no host "b3"; known: a1, a2, b1, b2'):
        chosen_ranks(lab, experiment("workload.ranks=[b3, a1]"))
    assert tuple(map(str, chosen_ranks(lab, experiment("workload.ranks=[b1]")))) == ("b1",)
    with pytest.raises(ExperimentError, match="incast needs 2 ranks, and there are 1"):
        chosen_ranks(lab, experiment("workload.ranks=[b1]", "workload.collective=incast"))


def test_ideal_is_the_slowest_port_of_a_host() -> None:
    assert ideal_busbw(load_lab("two-dc")) == 12.5
    assert ideal_busbw(load_lab("two-dc:rate=400G")) == 50.0


def test_a_thousand_nodes_compile_in_time() -> None:
    lab = load_lab("clos:spines=16,leaves=64,hosts=15")
    assert len(lab.nodes) == 1040
    start = time.process_time()
    compile_fabric(lab, experiment())
    assert time.process_time() - start < 2


def test_switches_mark_by_the_rate_of_their_slowest_port() -> None:
    assert all("ecn" not in node for node in switches(compile_fabric(load_lab("clos"), experiment())).values())
    step = {"kmin_bytes": 400_000, "kmax_bytes": 1_600_000, "pmax": 0.2}
    rates = {("a1:eth1", "x:eth1"): "100G", ("x:eth2", "y:eth1"): "400G", ("y:eth2", "b1:eth1"): "400G"}
    links = [{"endpoints": list(ends), "rate": rate, "length": "10m"} for ends, rate in rates.items()]
    nodes = {name: {"kind": "host" if name in ("a1", "b1") else "switch"} for name in ("a1", "b1", "x", "y")}
    lab = lab_from(Source("test", {"name": "mixed", "topology": {"nodes": nodes, "links": links}}))
    by_name = switches(compile_fabric(lab, experiment("lossless.ecn=hpcc-ns3")))
    slowest = {name: min(port["rate_bps"] for port in node["ports"]) for name, node in by_name.items()}
    assert set(slowest.values()) == {10**11, 4 * 10**11}
    for name, node in by_name.items():
        times = slowest[name] // 10**11
        assert node["ecn"] == {key: value * (1 if key == "pmax" else times) for key, value in step.items()}
    fixed = switches(compile_fabric(lab, experiment("lossless.ecn=sonic")))
    assert [node["ecn"] for node in fixed.values()] == [
        {"kmin_bytes": 1_048_576, "kmax_bytes": 2_097_152, "pmax": 0.05}
    ] * len(fixed)


def test_congestion_control_needs_marks() -> None:
    settings = ["transport.congestion-control=dcqcn"]
    with pytest.raises(ExperimentError, match=r"transport\.congestion-control: dcqcn acts on marks.*sonic"):
        compile_fabric(load_lab("pair"), experiment(*settings))
    compile_fabric(load_lab("pair"), experiment(*settings, "lossless.ecn=sonic"))


def test_an_mtu_is_planned_where_it_is_not_the_usual_one() -> None:
    links = [{"endpoints": ["a1:eth1", "b1:eth1"], "mtu": 9000}, {"endpoints": ["b1:eth2", "leaf:eth1"], "mtu": 4200}]
    nodes = {"a1": {"kind": "switch"}, "b1": {"kind": "switch"}, "leaf": {"kind": "switch"}}
    lab = lab_from(Source("test", {"name": "mtu", "topology": {"nodes": nodes, "links": links}}))
    assert [link.get("mtu_bytes") for link in compile_fabric(lab, experiment())["links"]] == [9000, None]
