"""Named switches and shared buffers: layers of settings, and the plans that come of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.buffers.thresholds import pool_notes
from testbed.errors import TopologyError
from testbed.experiment.file import new_experiment
from testbed.lab.switches import named_switches
from testbed.lab.thresholds import parse_alpha
from testbed.lab.topology import Lab, Switch, lab_from
from testbed.plan.compile import compile_fabric
from testbed.schema.source import Source
from tests.golden_files import GOLDEN, check_golden
from tests.unit.plan.test_plan import groups, readable, switches

Json = dict[str, Any]


def lab_of(switch: Json, length: str = "100m", ports: int = 2, bare: int = 0, **sections: Any) -> Lab:
    """Return a lab of one switch and a host on each of its ports; the first `bare` links run no flow control."""
    nodes: Json = {f"h{number}": {"kind": "host"} for number in range(1, ports + 1)}
    nodes["sw"] = {"kind": "switch", **switch}
    links: list[Json] = [{"endpoints": [f"h{n}:eth1", f"sw:eth{n}"], "length": length} for n in range(1, ports + 1)]
    for link in links[:bare]:
        link["flow-control"] = "none"
    return lab_from(Source("x", {"name": "x", "topology": {**sections, "nodes": nodes, "links": links}}))


def switch_of(lab: Lab) -> Switch:
    return lab.switches[0]


def planned(lab: Lab, *overrides: str) -> Json:
    return compile_fabric(lab, new_experiment("x", "incast").with_overrides(overrides))


@pytest.mark.parametrize(
    ("text", "exponent"),
    [
        ("1/128", -7),
        ("1/8", -3),
        ("1 / 8", -3),
        (0.125, -3),
        ("0.5", -1),
        (1, 0),
        (8, 3),
        ("1/256", -8),
        (128, 7),
        (0, -64),
        ("0", -64),
        ("none", 64),
    ],
)
def test_alpha(text: object, exponent: int) -> None:
    assert parse_alpha(text) == exponent


@pytest.mark.parametrize("text", ["1/512", 256, "1/3", "1/0", -1, "eighth", True, None, "nan", [1]])
def test_alpha_is_a_power_of_two_that_switches_have(text: object) -> None:
    with pytest.raises(ValueError, match=r"is not 0, none, or a power of two from 1/256 to 128; write it like 1/8"):
        parse_alpha(text)


def test_the_catalogue_gives_every_figure_a_source() -> None:
    assert {
        "azure-24mb",
        "tomahawk-32mb",
        "spectrum",
        "jericho-8gb",
        "tomahawk-5",
        "spectrum-4",
    } <= named_switches().keys()
    for named in named_switches().values():
        said = {key for key in named.settings if key != "thresholds"}
        said |= {f"thresholds.{key}" for key in named.settings["thresholds"]}
        assert {key.replace("_", "-") for key in said} == named.sources.keys() and all(named.sources.values())
        assert named.about


def test_the_worked_configuration() -> None:
    """18 MB shared, 6 MB of headroom for all, alpha 1/8: what the source states, to the byte."""
    plan = planned(lab_of({"profile": "azure-24mb"}))
    switch = switches(plan)["sw"]
    assert (switch["pool_bytes"], switch["headroom_pool_bytes"]) == (18_000_000, 6_000_000)
    group = {"alpha_log2": -3, "reserve_bytes": 1248, "xon_offset_bytes": 2496, "headroom_bytes": 96_928}
    assert switch["priority_groups"] == [{"port": port, "priority": 3, **group} for port in (0, 1)]
    check_golden(GOLDEN / "plans" / "azure-switch.json", readable(switch) + "\n")


@pytest.mark.parametrize("name", sorted(named_switches()))
@pytest.mark.parametrize("ports", [2, 32])
def test_what_a_switch_promises_fits_its_memory(name: str, ports: int) -> None:
    switch = switches(planned(lab_of({"profile": name}, ports=ports)))["sw"]
    own = [group["reserve_bytes"] for group in switch["priority_groups"]]
    rooms = [group["headroom_bytes"] for group in switch["priority_groups"]]
    promised = switch["pool_bytes"] + sum(own) + (switch.get("headroom_pool_bytes") or sum(rooms))
    # With an egress pool of their own lossy frames are charged to the one ingress pool too.
    aside = 0 if "lossy_pool_bytes" in switch else ports * switch["lossy_queue_bytes"]
    assert promised + aside <= switch["buffer_bytes"]
    assert switch["lossy_queue_bytes"] >= 2 * 4218
    assert all(room % switch.get("cell_bytes", 1) == 0 for room in rooms)
    assert switch.get("cell_bytes") == {
        "tomahawk-32mb": 208,
        "spectrum": 192,
        "tomahawk-5": 254,
        "spectrum-4": 192,
    }.get(name)


def test_layers_from_catalogue_to_node() -> None:
    kinds = {"switch": {"profile": "azure-24mb", "buffer": "64MB", "thresholds": {"alpha": "1/4"}}}
    switch = switch_of(lab_of({"pool": "20MB", "thresholds": {"headroom": "auto"}}, kinds=kinds))
    assert (switch.buffer_bytes, switch.pool_bytes, switch.thresholds.alpha_log2) == (64_000_000, 20_000_000, -2)
    assert (switch.thresholds.reserve_bytes, switch.headroom_pool_bytes, switch.thresholds.headroom_bytes) == (
        1248,
        6_000_000,
        None,
    )
    # A profile said later wins over figures said earlier.
    switch = switch_of(lab_of({"profile": "spectrum"}, kinds=kinds))
    assert (switch.buffer_bytes, switch.thresholds.alpha_log2, switch.cell_bytes) == (136_210_432, 0, 192)


def test_the_profile_of_links_is_not_that_of_switches() -> None:
    lab = lab_of({}, defaults={"profile": "400g-dr4", "cell": 208, "thresholds": {"alpha": 2}})
    assert (switch_of(lab).thresholds.alpha_log2, switch_of(lab).cell_bytes) == (1, 208)
    assert lab.links[0].rate_bps == 400 * 10**9


def test_a_static_threshold_replaces_a_dynamic_one_and_the_other_way_round() -> None:
    switch = switch_of(lab_of({"profile": "azure-24mb", "thresholds": {"xoff": "100KB"}}))
    assert (
        switch.thresholds.xoff_bytes,
        switch.thresholds.alpha_log2,
        switch.pool_bytes,
        switch.headroom_pool_bytes,
    ) == (
        100_000,
        None,
        None,
        0,
    )
    assert switch.thresholds.headroom_bytes == 96_928
    kinds = {"switch": {"thresholds": {"xoff": "100KB", "xon": "50KB"}}}
    switch = switch_of(lab_of({"thresholds": {"alpha": 1}}, kinds=kinds))
    assert (switch.thresholds.xoff_bytes, switch.thresholds.xon_bytes, switch.thresholds.alpha_log2) == (None, None, 0)


@pytest.mark.parametrize("override", ["lossless.xoff=100KB", "lossless.xon=10KB"])
def test_the_experiments_threshold_is_static(override: str) -> None:
    switch = switches(planned(lab_of({"profile": "tomahawk-32mb"}), override))["sw"]
    assert switch["cell_bytes"] == 208 and "pool_bytes" not in switch and "headroom_pool_bytes" not in switch
    assert all("alpha_log2" not in group and group["xoff_bytes"] > 0 for group in switch["priority_groups"])
    dynamic = groups(planned(lab_of({"profile": "tomahawk-32mb"}), "lossless.headroom=50KB"), "sw")
    assert [(group["alpha_log2"], group["headroom_bytes"]) for group in dynamic] == [(0, 50_000)] * 2


def test_without_pfc_there_are_no_pools() -> None:
    switch = switches(planned(lab_of({"profile": "tomahawk-32mb"}), "lossless.pfc=false"))["sw"]
    assert (switch["priority_groups"], switch["cell_bytes"]) == ([], 208) and "pool_bytes" not in switch


@given(st.integers(-7, 3), st.integers(2, 6), st.sampled_from(["1m", "1km", "80km"]))
def test_a_buffer_of_no_given_depth_holds_what_the_longest_link_needs(exponent: int, ports: int, length: str) -> None:
    """One group alone settles at alpha·B/(1 + alpha): at least a round trip and two frames."""
    lab = lab_of({"buffer": "auto", "thresholds": {"alpha": 2.0**exponent}}, length, ports)
    switch = switches(planned(lab))["sw"]
    round_trip = 2 * lab.links[0].delay_ps * lab.links[0].rate_bps // (8 * 10**12)
    alpha = 2.0**exponent
    assert switch["pool_bytes"] * alpha / (1 + alpha) >= round_trip + 2 * 4218
    rooms = sum(group["headroom_bytes"] for group in switch["priority_groups"])
    assert switch["pool_bytes"] + rooms + ports * switch["lossy_queue_bytes"] == switch["buffer_bytes"]


def test_a_group_that_needs_more_than_the_headroom_pool_is_an_error_that_names_ports_and_bytes() -> None:
    with pytest.raises(TopologyError) as caught:
        planned(lab_of({"headroom-pool": "1MB", "thresholds": {"alpha": "1/8"}}, "80km"))
    assert str(caught.value) == (
        "lab x: topology.nodes.sw.headroom-pool: 1MB cannot hold the headroom of eth1 priority 3 9831994 bytes, "
        "eth2 priority 3 9831994 bytes: no group may need more than the whole pool. Give a larger pool, or none: "
        "each group then has its own headroom"
    )


def test_an_oversubscribed_headroom_pool_is_reported_with_its_excess() -> None:
    settings = {"headroom-pool": "10MB", "thresholds": {"alpha": "1/8"}}
    assert pool_notes(planned(lab_of(settings, "80km", 4))) == [
        "sw: the headroom pool of 10MB is oversubscribed 3.9 times: 4 groups may need 39327976 bytes; "
        "if too many need it at once, frames are lost"
    ]
    assert pool_notes(planned(lab_of({**settings, "headroom-pool": "20MB"}, "80km", 2))) == []
    assert pool_notes(planned(lab_of({}))) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"buffer": "19.6MB"}, "eth2 priority 3 9831994 bytes; reserves and pool; 16872 bytes for lossy queues"),
        ({"buffer": "20MB", "headroom-pool": "10MB", "pool": "10MB"}, "a headroom pool of 10000000 bytes; reserves"),
        ({"buffer": "30MB", "pool": "11MB"}, "30MB cannot hold the 30680860 bytes"),
    ],
)
def test_a_buffer_too_small_for_its_pools(settings: Json, message: str) -> None:
    with pytest.raises(TopologyError, match=message) as caught:
        planned(lab_of({"thresholds": {"alpha": 1}, **settings}, "80km"))
    assert "topology.nodes.sw.buffer" in str(caught.value)


def test_lossy_queues_make_do_with_what_pools_leave() -> None:
    def lossy(**settings: str) -> int:
        switch = switches(planned(lab_of({"thresholds": {"alpha": 1, "headroom": "1MB"}, **settings})))["sw"]
        size: int = switch["lossy_queue_bytes"]
        return size

    assert lossy(buffer="auto", pool="50MB") == lossy(buffer="12MB") == 1_000_000
    assert lossy(buffer="12MB", pool="9MB") == 500_000
    assert lossy(buffer="12MB", pool="9MB", **{"lossy-queue": "100KB"}) == 100_000
    assert 60_000 < lossy(buffer="2.6MB") < 75_000, "a quarter of what the headroom leaves"


def test_lossy_queues_are_limited_by_the_setting_given_last() -> None:
    kinds = {"switch": {"lossy-queue": "100KB"}}
    switch = switch_of(lab_of({"lossy-alpha": "1/4", "lossy-reserve": "2KB", "lossy-pool": "3MB"}, kinds=kinds))
    assert (switch.lossy_queue_bytes, switch.lossy_alpha_log2) == (None, -2)
    assert (switch.lossy_reserve_bytes, switch.lossy_pool_bytes) == (2_000, 3_000_000)
    switch = switch_of(lab_of({"profile": "tomahawk-32mb", "lossy-queue": "100KB"}))
    assert (switch.lossy_queue_bytes, switch.lossy_alpha_log2) == (100_000, None)


def test_the_plan_of_lossy_queues() -> None:
    keys = ("lossy_alpha_log2", "lossy_reserve_bytes", "lossy_pool_bytes")

    def lossy(**settings: Any) -> tuple[list[int | None], int]:
        switch = switches(planned(lab_of({key.replace("_", "-"): value for key, value in settings.items()})))["sw"]
        groups = sum(group["headroom_bytes"] + group.get("xoff_bytes", 0) for group in switch["priority_groups"])
        return [switch.get(key) for key in keys], switch["buffer_bytes"] - groups - switch.get("pool_bytes", 0)

    assert lossy(profile="tomahawk-32mb")[0] == [3, 1792, 24_192_256]
    assert lossy(profile="jericho-8gb")[0] == [-4, None, 6_441_610_000]
    assert lossy()[0] == [None, None, None]
    # What is over when the groups have theirs: two queues' worth, and a reserve for each of 7 queues of 2 ports.
    alpha = {"thresholds": {"alpha": 1}, "buffer": "16MB"}
    assert lossy(**alpha)[1] == 2_000_000
    assert lossy(**alpha, lossy_alpha=1, lossy_reserve="1KB") == ([0, 1_000, None], 2_014_000)
    assert lossy(**alpha, lossy_pool="5MB") == ([None, None, 5_000_000], 0), "one pool for all"


def test_a_lossy_pool_larger_than_the_buffer_is_refused() -> None:
    with pytest.raises(
        TopologyError, match=r"topology.nodes.sw.lossy-pool: lossy-pool 5MB is more than the buffer, 4MB"
    ):
        lab_of({"buffer": "4MB", "lossy-pool": "5MB"})


def test_cells_make_headroom_deeper() -> None:
    """As deep as smallest frames need, which take 84 bytes of the line and a cell each."""

    def room(cell: int) -> int:
        size: int = groups(planned(lab_of({"cell": cell, "thresholds": {"alpha": 1}}, "1km")), "sw")[0][
            "headroom_bytes"
        ]
        return size

    for cell in (208, 1000):
        assert room(cell) % cell == 0 and room(cell) == pytest.approx(room(1) * cell / 84, abs=2 * cell)


def test_a_share_of_headroom_is_one_of_what_auto_comes_to() -> None:
    def rooms(switch: Json, headroom: str) -> list[int]:
        return [
            group["headroom_bytes"] for group in groups(planned(lab_of(switch), f"lossless.headroom={headroom}"), "sw")
        ]

    full = rooms({}, "auto")
    assert rooms({}, "50%") == [room // 2 for room in full]
    assert rooms({}, "150%") == [room * 3 // 2 for room in full]
    cells = rooms({"cell": 208, "thresholds": {"alpha": 1}}, "33%")
    assert all(
        room % 208 == 0 and 0 <= 0.33 * full - room < 208
        for room, full in zip(cells, rooms({"cell": 208, "thresholds": {"alpha": 1}}, "auto"), strict=True)
    )
    assert rooms({"profile": "azure-24mb"}, "50%") == [48_464] * 2, "of the switch's own figure, if it has one"


def test_weights_come_in_layers_and_hosts_have_none() -> None:
    lab = lab_of({"weights": {4: 5, 0: 0}}, kinds={"switch": {"weights": {0: 1, 3: 2}}})
    assert switch_of(lab).weights == (0, 0, 0, 2, 5, 0, 0, 0)
    by_kind = {node["kind"]: [port["weights"] for port in node["ports"]] for node in planned(lab)["nodes"]}
    assert by_kind == {"switch": [[0, 0, 0, 2, 5, 0, 0, 0]] * 2, "host": [[0] * 8]}
    assert switch_of(lab_of({})).weights == (0,) * 8
    # A lab travels to agents as JSON, and is the same there.
    assert Lab.model_validate(lab.model_dump(mode="json", by_alias=True)) == lab
