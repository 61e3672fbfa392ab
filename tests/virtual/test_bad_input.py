"""Plans and workloads with one fault each: a ValueError that names it, and a fabric that works on."""

import copy
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed._dataplane import VirtualFabric
from testbed.plan.workload import compile_workload
from testbed.traffic import COLLECTIVES, Shape
from tests.virtual.harness import Json, finish, make_trial, report_of

TRIAL = make_trial("pair", "all_reduce")
SCHEDULE = COLLECTIVES["all_reduce"].schedule(Shape(2, 4096))
DELETE = object()


def plan() -> Json:
    return copy.deepcopy(TRIAL.plan)


def workload() -> Json:
    return compile_workload(TRIAL.lab, TRIAL.experiment, SCHEDULE)


def change(document: Json, path: Sequence[str | int], value: Any) -> str:
    """Return the document as JSON with one value replaced, or deleted."""
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    if value is DELETE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(document)


RECEIVE = {"drain_bps": 10**9, "buffer_bytes": 10, "xoff_bytes": 8, "xon_bytes": 8, "priority": 3}

# Of the pair: nodes 0 and 1 are hosts, 2 the switch with ports 0 and 1; stations 0 and 1 are NICs, 2 and 3 kernels.
BAD_PLANS = {
    "another schema": (["schema"], 2, "plan schema 2"),
    "no schema": (["schema"], DELETE, "schema"),
    "no links": (["links"], DELETE, "links"),
    "a list of nodes that is none": (["nodes"], {}, "expected a sequence"),
    "a node of no kind": (["nodes", 2, "kind"], "router", "router"),
    "a node out of range": (["links", 0, "b", 0], 3, "link 0: no port 0 on node 3"),
    "a port out of range": (["links", 0, "b", 1], 2, "link 0: no port 2 on node 2"),
    "a port used twice": (["links", 1, "b", 1], 0, "link 1: port (2, 0) is used twice"),
    "a link to itself": (["links", 1, "a"], [2, 1], "link 1: port (2, 1) is used twice"),
    "a negative delay": (["links", 0, "delay_ps"], -1, "-1"),
    "a fraction of a picosecond": (["links", 0, "delay_ps"], 0.5, "0.5"),
    "a certainty of two": (["links", 0, "loss"], [2, 0], "link 0: loss [2.0, 0.0] is no probability"),
    "a negative probability": (["links", 1, "loss"], [0, -1e-9], "link 1: loss"),
    "loss one way only": (["links", 0, "loss"], [0], "length 1"),
    "an unknown medium": (["links", 0, "medium"], "air", "air"),
    "a port without rate": (["nodes", 0, "ports", 0, "rate_bps"], 0, "a1:eth1: rate 0"),
    "seven weights": (["nodes", 0, "ports", 0, "weights"], [0] * 7, "length 7"),
    "an address that is none": (["nodes", 0, "ports", 0, "mac"], "02:00:00", '"02:00:00" is no MAC address'),
    "an address too long": (["stations", 0, "mac"], "02:00:00:00:00:00:00", "is no MAC address"),
    "an IP that is none": (["stations", 0, "ip"], "198.18.0.256", "IPv4"),
    "a host without ports": (["nodes", 0, "ports"], [], "a1: a host without ports"),
    "a host that is a kernel": (["nodes", 0, "station"], 2, "a1: station 2 is not a NIC"),
    "a host that is nobody": (["nodes", 0, "station"], 99, "a1: station 99 is not a NIC"),
    "a station nowhere": (["stations", 3, "node"], 7, "no port 0 on node 7"),
    "a NIC that drains nothing": (["nodes", 0, "receive"], RECEIVE | {"drain_bps": 0}, "a1: a NIC that drains nothing"),
    "a NIC's XON above XOFF": (
        ["nodes", 0, "receive"],
        RECEIVE | {"xon_bytes": 9},
        "a1: a NIC whose XON threshold is above",
    ),
    "a NIC's XOFF above all": (
        ["nodes", 0, "receive"],
        RECEIVE | {"buffer_bytes": 7},
        "a1: a NIC whose XOFF threshold exceeds",
    ),
    "a NIC's priority 8": (["nodes", 0, "receive"], RECEIVE | {"priority": 8}, "priority 8 is not between 0 and 7"),
    "a short DSCP table": (["nodes", 2, "dscp_to_priority"], [0] * 63, "leaf: dscp_to_priority must be 64 priorities"),
    "a DSCP of priority 8": (["nodes", 2, "dscp_to_priority", 5], 8, "priority 8 is not between 0 and 7"),
    "too few routes": (["nodes", 2, "routes"], [[0], [1]], "leaf: one route a station"),
    "a route to no port": (["nodes", 2, "routes", 0], [2], "leaf: a route leads to a port that is not there"),
    "a group of no port": (["nodes", 2, "priority_groups", 0, "port"], 2, "leaf: priority group of port 2, priority 3"),
    "a group of priority 8": (["nodes", 2, "priority_groups", 0, "priority"], 8, "priority 8"),
    "a lossless priority 8": (["nodes", 2, "lossless"], [3, 8], "priority 8 is not between 0 and 7"),
    "XON above XOFF": (
        ["nodes", 2, "priority_groups", 0, "xon_bytes"],
        10**9,
        "leaf: XON threshold above XOFF on port 0",
    ),
    "a misspelt key": (["nodes", 2, "lossy_aplha_log2"], 3, "unknown field `lossy_aplha_log2`"),
    "a key of the plan that is none": (["sede"], 1, "unknown field `sede`"),
    "a key of a host that is none": (["nodes", 0, "recieve"], None, "unknown field `recieve`"),
    "a key of a port that is none": (["nodes", 2, "ports", 0, "rate"], 1, "unknown field `rate`"),
    "a key of a group that is none": (["nodes", 2, "priority_groups", 0, "alpha"], 1, "unknown field `alpha`"),
    "a key of a station that is none": (["stations", 0, "address"], "", "unknown field `address`"),
    "a key of a link that is none": (["links", 0, "delay"], 1, "unknown field `delay`"),
    "a key of a loss process that is none": (
        ["links", 0, "loss_process"],
        [{"kind": "bernoulli", "probability": 0.1, "enter": 0.1}, None],
        "unknown field `enter`",
    ),
    "a key of a container that is none": (
        ["nodes", 0, "container"],
        {"image": "host", "cpu_millis": 0, "memory_bytes": 0, "cpus": 1},
        "unknown field `cpus`",
    ),
}

MEMORY = 3 * 4 * 4096
PAIR = {"a": 0, "b": 1, "qpn": 17, "entropy": 49_152}
BAD_WORKLOADS = {
    "another schema": (["schema"], 0, "workload schema 0"),
    "priority 8": (["priority"], 8, "priority 8 is not between 0 and 7"),
    "DSCP 64": (["dscp"], 64, "DSCP out of range"),
    "an MTU of 1000": (["transport", "mtu_bytes"], 1000, "path MTU 1000 is not one of 256, 512, 1024, 2048, 4096"),
    "no acknowledgements": (["transport", "ack_every"], 0, "ack_every 0"),
    "no timeout": (["transport", "timeout_ps"], 0, "timeout 0"),
    "a window below a packet": (["transport", "window_bytes"], 4095, "a window of 4095 bytes"),
    "a window of half the PSNs": (["transport", "window_bytes"], 4096 << 23, "is not 1 to 8388607 packets"),
    "another recovery": (["transport", "recovery"], "hope", "hope"),
    "erasure without a code": (["transport", "recovery"], "erasure", "recovery by erasure, and no erasure code"),
    "an RNR timer of six bits": (["transport", "rnr"], {"timer": 32, "retries": 7}, "rnr: a timer is below 32"),
    "another verb": (["transport", "verb"], "read", "read"),
    "a rank on a switch": (["ranks", 0, "node"], 2, "rank 0: node 2 is not a host"),
    "two ends on one port": (["ranks", 1, "node"], 0, "qp 0: both its ends are on one port"),
    "a port that is none": (["qps", 0, "ports"], [0, 1], "qp 0: uses a port that is not there"),
    "a copy between hosts": (["qps", 0, "local"], True, "qp 0: its ranks cannot copy to each other"),
    "a rank nowhere": (["ranks", 1, "node"], 9, "rank 1: node 9 is not a host"),
    "a queue pair with itself": (["qps"], [PAIR, PAIR | {"qpn": 18, "a": 1}], "qp 1: ranks 1 and 1"),
    "a queue pair with nobody": (["qps"], [PAIR, PAIR | {"qpn": 18, "b": 2}], "qp 1: ranks 0 and 2"),
    "a number used twice": (["qps"], [PAIR, PAIR], "qp 1: number 17 is not free"),
    "a queue pair of another": (["qps", 0, "b"], 0, "rank 1, op 0: uses a QP that is not its own"),
    "a number of 25 bits": (["qps", 0, "qpn"], 1 << 24, "qp 0: number 16777216 is not free"),
    "an unknown queue pair": (["ranks", 0, "ops", 0, "qp"], 1, "rank 0, op 0: uses a QP that is not its own"),
    "a send from outside": (["ranks", 0, "ops", 0, "offset"], MEMORY, "rank 0, op 0: outside the rank's memory"),
    "an offset that overflows": (
        ["ranks", 0, "ops", 0, "offset"],
        2**64 - 1,
        "rank 0, op 0: outside the rank's memory",
    ),
    "a receive outside": (["ranks", 1, "ops", 1, "offset"], MEMORY, "rank 1, op 1: outside the rank's memory"),
    "a message above 2 GiB": (["ranks", 0, "ops", 0, "bytes"], 2**31 + 1, "rank 0, op 0: message above 2 GiB"),
    "a sum outside": (["ranks", 0, "ops", 2, "dst"], MEMORY, "rank 0, op 2: outside the rank's memory"),
    "a count that overflows": (["ranks", 0, "ops", 2, "count"], 2**63, "rank 0, op 2: outside the rank's memory"),
    "a sum of words": (["ranks", 0, "ops", 2, "dtype"], "text", "text"),
    "another operator": (["ranks", 0, "ops", 2, "redop"], "xor", "xor"),
    "an op of no kind": (["ranks", 0, "ops", 0, "kind"], "barrier", "barrier"),
    "a requirement not there": (
        ["ranks", 0, "ops", 2, "requires"],
        [99],
        "rank 0, op 2: requires an op that is not there",
    ),
    "a negative requirement": (["ranks", 0, "ops", 2, "requires"], [-1], "-1"),
    "no ranks": (["ranks"], DELETE, "ranks"),
    "a misspelt limit": (["limit"], 1, "unknown field `limit`"),
    "a key of the transport that is none": (["transport", "window"], 1, "unknown field `window`"),
    "a key of a queue pair that is none": (["qps", 0, "port"], 1, "unknown field `port`"),
    "a key of a rank that is none": (["ranks", 0, "host"], "a1", "unknown field `host`"),
    "a key of an op that is none": (["ranks", 0, "ops", 0, "require"], [0], "unknown field `require`"),
    "a key of another kind of op": (["ranks", 0, "ops", 0, "duration_ps"], 1, "unknown field `duration_ps`"),
}


@pytest.mark.parametrize(("path", "value", "message"), BAD_PLANS.values(), ids=BAD_PLANS)
def test_a_bad_plan_is_refused(path: Sequence[str | int], value: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        VirtualFabric(change(plan(), path, value))
    assert message in str(caught.value)


def test_keys_that_only_drivers_and_agents_read_are_known() -> None:
    document = plan() | {"emulation": "auto", "driver": "docker", "prefix_length": 15, "machines": {"a": "10.0.0.1"}}
    for node in document["nodes"]:
        node |= {"agent": "a", "container": {"image": "host", "cpu_millis": 500, "memory_bytes": 2**28}}
    process = {"kind": "bernoulli", "probability": 0.0, "acceleration": 10.0}
    document["links"][0] |= {"mtu_bytes": 1500, "vni": 7, "local": "10.0.0.1", "remote": "10.0.0.2"}
    document["links"][0]["loss_process"] = [process, process]
    VirtualFabric(json.dumps(document))


@pytest.fixture(scope="module")
def fabric() -> VirtualFabric:
    """Return one fabric for all bad workloads: none of them may harm it."""
    return VirtualFabric(json.dumps(plan()))


@pytest.mark.parametrize(("path", "value", "message"), BAD_WORKLOADS.values(), ids=BAD_WORKLOADS)
def test_a_bad_workload_is_refused(fabric: VirtualFabric, path: Sequence[str | int], value: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        fabric.load(change(workload(), path, value))
    assert message in str(caught.value)
    fabric.load(json.dumps(workload()))
    vector = (1).to_bytes(4, "little") * 4096
    for rank in (0, 1):
        fabric.write_memory(rank, 0, vector)
    report = finish(fabric)
    assert report["complete"] and report["violations"] == [] and report["qps"][0]["error"] is None


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "7", '{"schema": 1}', "\0", "{}" * 2, "[" * 100_000])
def test_text_that_is_no_document(fabric: VirtualFabric, text: str) -> None:
    with pytest.raises(ValueError, match="not the JSON"):
        VirtualFabric(text)
    with pytest.raises(ValueError, match="not the JSON"):
        fabric.load(text)


@pytest.mark.parametrize("window_ps", [0, 1, 999_999])
def test_a_window_that_would_never_be_over_is_refused(fabric: VirtualFabric, window_ps: int) -> None:
    with pytest.raises(ValueError, match="a window has 1000000 ps at least"):
        fabric.begin_span(json.dumps({"warmup_ps": 0, "window_ps": window_ps}))
    fabric.begin_span(json.dumps({"warmup_ps": 0, "window_ps": 10**6}))


def test_a_refusal_repeats_no_more_of_an_input_than_is_needed_to_find_it() -> None:
    with pytest.raises(ValueError, match=r'^"é{900}') as refused:
        VirtualFabric(change(plan(), ["stations", 0, "mac"], "é" * 100_000))
    assert 900 < len(str(refused.value)) < 1_100


def test_a_refused_workload_leaves_the_last_one() -> None:
    """A load that fails is as if it had not been tried: the workload before it runs."""
    fabric = VirtualFabric(json.dumps(plan()))
    fabric.load(json.dumps(workload()))
    with pytest.raises(ValueError):
        fabric.load(change(workload(), ["transport", "mtu_bytes"], 1000))
    assert finish(fabric)["complete"]


def test_memory_outside_a_rank(fabric: VirtualFabric) -> None:
    fabric.load(json.dumps(workload()))
    for offset, length in ((MEMORY, 1), (MEMORY - 1, 2), (2**64 - 1, 2)):
        with pytest.raises(ValueError, match="outside the memory of rank 0"):
            fabric.read_memory(0, offset, length)
        with pytest.raises(ValueError, match="outside the memory of rank 0"):
            fabric.write_memory(0, offset, bytes(length))
    with pytest.raises(ValueError, match="no rank 2"):
        fabric.read_memory(2, 0, 1)
    with pytest.raises(OverflowError):
        fabric.read_memory(-1, 0, 1)
    assert fabric.read_memory(0, MEMORY, 0) == b""


# Legal documents that ask for what cannot come about: the run stalls and says so.
HOPELESS = {
    "a circle of requirements": (["ranks", 0, "ops", 2, "requires"], [1, 3]),
    "an op that waits for itself": (["ranks", 0, "ops", 0, "requires"], [0]),
    "a write outside the peer's memory": (["ranks", 0, "ops", 0, "remote_offset"], 2**63),
}


@pytest.mark.parametrize(("path", "value"), HOPELESS.values(), ids=HOPELESS)
def test_a_hopeless_workload_stalls(fabric: VirtualFabric, path: Sequence[str | int], value: Any) -> None:
    fabric.load(change(workload(), path, value))
    report = finish(fabric)
    assert not report["complete"] and report["ranks"][0]["finish_ps"] is None
    fabric.load(json.dumps(workload()))
    assert finish(fabric)["complete"]


# Legal in form, but more than any machine holds. In a process of its own: an allocation that fails could end it.
EXCESSIVE = {
    "memory": ("workload", ["ranks", 0, "memory_bytes"], 2**62),
    "memory beyond signed numbers": ("workload", ["ranks", 0, "memory_bytes"], 2**64 - 1),
    "a delay of months": ("plan", ["links", 0, "delay_ps"], 2**64 - 1),
    "a rate beyond light": ("plan", ["nodes", 2, "ports", 0, "rate_bps"], 2**64 - 1),
    "a rate of one bit a second": ("plan", ["nodes", 2, "ports", 0, "rate_bps"], 1),
    "a buffer of everything": ("plan", ["nodes", 2, "buffer_bytes"], 2**64 - 1),
    "headroom of everything": ("plan", ["nodes", 2, "priority_groups", 0, "headroom_bytes"], 2**64 - 1),
    "an endless response": ("plan", ["nodes", 0, "ports", 0, "response_ps"], 2**64 - 1),
    "an endless timeout": ("workload", ["transport", "timeout_ps"], 2**64 - 1),
    "endless retries": ("workload", ["transport", "retries"], 2**32 - 1),
}
ATTEMPT = """
import json, sys
from testbed._dataplane import VirtualFabric
plan, workload = json.load(sys.stdin)
try:
    fabric = VirtualFabric(plan)
    fabric.load(workload)
    for _ in range(100):
        if fabric.advance(10_000):
            break
    print("ran", json.loads(fabric.report())["violations"])
except (ValueError, MemoryError) as error:
    print("refused", error)
"""


@pytest.mark.parametrize(("which", "path", "value"), EXCESSIVE.values(), ids=EXCESSIVE)
def test_excess_never_crashes(which: str, path: Sequence[str | int], value: Any) -> None:
    documents = {"plan": json.dumps(plan()), "workload": json.dumps(workload())}
    documents[which] = change(json.loads(documents[which]), path, value)
    completed = subprocess.run(
        [sys.executable, "-c", ATTEMPT],
        input=json.dumps(list(documents.values())),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.startswith("refused") or completed.stdout == "ran []\n"


SIZES = [0, 1, 2, 7, 8, 255, 2**16, 2**31, 2**32, 2**63 - 1, 2**64 - 1, 2**64]
VALUES = st.sampled_from([None, True, {}, [], [0], [[0]], [0] * 64, "", "send", 0.5, 1e300, -1, *SIZES])


def places(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of everything in a document; memory is left out, for some of the values would be allocated."""
    steps = document.items() if isinstance(document, dict) else enumerate(document)
    for step, value in steps:
        if step != "memory_bytes":
            yield (*path, step)
        if isinstance(value, dict | list):
            yield from places(value, (*path, step))


@settings(max_examples=400)
@given(st.data(), st.booleans())
def test_any_fault_is_refused_or_harmless(data: st.DataObject, in_plan: bool) -> None:
    """Whatever stands where it should not: a ValueError, or a run that ends with every invariant in place."""
    documents = {"plan": plan(), "workload": workload()}
    chosen = documents["plan" if in_plan else "workload"]
    path = data.draw(st.sampled_from(list(places(chosen))))
    broken = change(chosen, path, data.draw(st.just(DELETE) | VALUES))
    try:
        fabric = VirtualFabric(broken if in_plan else json.dumps(plan()))
        fabric.load(json.dumps(workload()) if in_plan else broken)
    except (ValueError, MemoryError) as error:
        assert str(error)
        return
    for _ in range(50):
        if fabric.advance(10_000):
            break
    assert report_of(fabric)["violations"] == []
