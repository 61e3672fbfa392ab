"""Limits of the data plane: each is a fault of a file, with its key, before the data plane sees it, or cannot be said in one."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import InputError, TestbedError
from testbed.experiment.file import load_experiment
from testbed.lab.topology import load_lab
from testbed.plan.queue_pairs import MOST
from testbed.run.trial import Trial
from testbed.study import preflight
from tests.virtual.congestion_faults import CONGESTION_FAULTS, Case
from tests.virtual.harness import Json, loaded_fabric

SOURCES = Path(__file__).resolve().parents[2] / "dataplane" / "src"
LARGEST = 2**63 - 1

LAB: Json = {
    "name": "limits",
    "topology": {
        "defaults": {},
        "nodes": {"a1": {"kind": "host"}, "b1": {"kind": "host"}, "leaf": {"kind": "switch"}},
        "links": [
            {"endpoints": ["a1:eth1", "leaf:eth1"], "rate": "100G", "length": "20m"},
            {"endpoints": ["b1:eth1", "leaf:eth2"], "rate": "100G", "length": "20m"},
        ],
    },
}
EXPERIMENT: Json = {"topology": "limits", "workload": {"collective": "all_reduce", "size": "64K"}}
LINK = ("lab", "topology", "links", 0)
LEAF = ("lab", "topology", "nodes", "leaf")
NIC = ("lab", "topology", "nodes", "a1", "nic")
TRANSPORT = ("experiment", "transport")
ENTRY: Json = {"at": "1us", "link": "leaf:eth1"}
STORM: Json = {"at": "1us", "node": "b1"}

# What no file can say, and who else sees to it.
COMPILED = "the compiler writes it: no key of a file reaches it"
RANGE = "offsets and lengths are the schedule's, which tests/unit holds against the ranks' memory"
ENGINE = "ranks and offsets are those of the schedule that was loaded"
TESTER = "frames and ports are the conformance suite's own"
AGENT = "agents name their peers and attachments themselves"
TRACE = "a trace is matched, checked and compiled before it is fed to a fabric"
WRAPS = "stands around another fault of this list"

FAULTS: dict[str, str | Case | list[Case]] = {
    **CONGESTION_FAULTS,
    # emulation/, clock/, codec.rs, python.rs
    "train {index}: {what}": WRAPS,
    "no node {}": TESTER,
    "{} is not a host": TESTER,
    "{} has no port {}": TESTER,
    "hex is not a string of byte pairs": TESTER,
    "a burst has at least one frame": TESTER,
    "a frame without room for a stamp": TESTER,
    "at_ps or after_ps, not both": TESTER,
    "{} bytes are no frame": TESTER,
    "the bytes are no frame": TESTER,
    "only a RoCEv2 packet between NICs of the plan can be numbered": TESTER,
    "no socket for heartbeats is open": AGENT,
    "agent {} of {}": AGENT,
    "attachment {}:{}: no such port": AGENT,
    "{name}: port {} has no attachment": AGENT,
    "{address} is no address": AGENT,
    "{text:?} is no MAC address": COMPILED,
    "no rank {rank}": ENGINE,
    "{} bytes at {offset} are outside the memory of rank {rank}": ENGINE,
    "{length} bytes at {offset} are outside the memory of rank {rank}": ENGINE,
    "{seconds} s: {error}": "calibration's own times",
    # plan
    "plan schema {} is not {SCHEMA}": COMPILED,
    "no way of node {node} to station {station} by ports {ports:?}": COMPILED,
    "{what}: no port {port} on node {node}": COMPILED,
    "link {index}: port {endpoint:?} is used twice": (
        (*LINK, "endpoints"),
        ["b1:eth1", "leaf:eth1"],
        "topology.links[1]",
    ),
    "link {index}: loss {:?} is no probability": ((*LINK, "loss"), 2, "topology.links[0].loss"),
    "link {index}: {}": WRAPS,
    "link {index}: credits: {}": WRAPS,
    "link {index}: credits of priority {} twice": COMPILED,
    "link {index}: credits without flow_control credit": COMPILED,
    "blocks of 0 bytes": COMPILED,
    "{} blocks": (
        ("lab", "topology", "defaults"),
        {"flow-control": "credit", "credits": LARGEST},
        "topology.nodes.leaf.buffer",
    ),
    "an update every {} of {} blocks": COMPILED,
    "blocks of {} bytes in {}'s cells of {}": COMPILED,
    "{name} grants {granted} bytes of {backed} on port {port}": COMPILED,
    "{name}:{}: rate 0": ((*LINK, "rate"), 0, "topology.links[0].rate"),
    "port {}: rate 0": ((*LINK, "rate"), "0G", "topology.links[0].rate"),
    "{name}: a host without ports": ((*LINK, "endpoints"), ["b1:eth2", "leaf:eth1"], "topology.nodes.a1"),
    "{name}: copies at rate 0": (
        ("lab", "topology", "nodes", "a1", "local"),
        {"rate": 0},
        "topology.nodes.a1.local.rate",
    ),
    "{}: station {} is not the NIC of its first port": COMPILED,
    "{}: port {} has no NIC": COMPILED,
    "{name}: station {} is not a NIC": COMPILED,
    "{name}: {}": WRAPS,
    "{name}: dscp_to_priority must be 64 priorities": COMPILED,
    "{}: dscp_to_priority must be 64 priorities": COMPILED,
    "{name}: one route a station": COMPILED,
    "{name}: a route leads to a port that is not there": (
        (*LEAF, "routes"),
        {"a1": ["eth9"]},
        "topology.nodes.leaf.routes",
    ),
    "{name}: marking on a port that is not there": (
        (*LEAF, "thresholds"),
        {"ports": {"eth9": {"ecn": "sonic"}}},
        "topology.nodes.leaf.thresholds.ports.eth9",
    ),
    "{name}: cells of 0 bytes": ((*LEAF, "cell"), 0, "topology.nodes.leaf.cell"),
    "{name}: the pools exceed the buffer": (
        LEAF,
        {"kind": "switch", "buffer": "1MB", "pool": "2MB", "thresholds": {"alpha": "1/8"}},
        "topology.nodes.leaf",
    ),
    "{name}: the pool or the reserves of lossy queues exceed the buffer": [
        (LEAF, {"kind": "switch", "buffer": "1MB", "lossy-pool": "2MB"}, "topology.nodes.leaf.lossy-pool"),
        (
            LEAF,
            {"kind": "switch", "buffer": "40MB", "lossy-queue": "1KB", "lossy-reserve": "2.6MB"},
            "topology.nodes.leaf.lossy-reserve",
        ),
    ],
    "{name}: a watchdog that polls every 0 ps": (
        ("experiment", "lossless", "watchdog"),
        {"poll": "0ps"},
        "lossless.watchdog.poll",
    ),
    "{name}: priority group of port {}, priority {}": ((*LEAF, "lossless"), [8], "topology.nodes.leaf.lossless[0]"),
    "{name}: the priority group of port {} exceeds the buffer": (
        (*LEAF, "thresholds"),
        {"xoff": "1GB"},
        "topology.nodes.leaf.buffer",
    ),
    "{name}: XON threshold above XOFF on port {}": (
        ("experiment", "lossless"),
        {"xoff": "10KB", "xon": "20KB"},
        "lossless",
    ),
    "{per_second} codewords a second at {rate_bps} bit/s": COMPILED,
    "a NIC that drains nothing": (NIC, {"drain": 0}, "topology.nodes.a1.nic.drain"),
    "a NIC whose XON threshold is above XOFF": (
        NIC,
        {"drain": "50G", "buffer": "2MB", "xoff": "1MB", "xon": "1.5MB"},
        "topology.nodes.a1.nic",
    ),
    "a NIC whose XOFF threshold exceeds its buffer": (
        NIC,
        {"drain": "50G", "buffer": "2MB", "xoff": "3MB"},
        "topology.nodes.a1.nic",
    ),
    "Kmin {} above Kmax {}": (
        ("experiment", "lossless", "ecn"),
        {"kmin": "2MB", "kmax": "1MB", "pmax": 0.1},
        "lossless.ecn",
    ),
    "Pmax {} is no probability": (
        ("experiment", "lossless", "ecn"),
        {"kmin": "1MB", "kmax": "2MB", "pmax": 2},
        "lossless.ecn.pmax",
    ),
    "window_ps {window}: a window has {SMALLEST_WINDOW_PS} ps at least, since each costs a look at every port": (
        ("experiment", "window"),
        "999999ps",
        "window",
    ),
    # changes
    "change {index}: {what}": WRAPS,
    "no way {} of link {}": (
        ("experiment", "timeline"),
        [ENTRY | {"link": "leaf:eth9", "impair": {"loss": "1%"}}],
        "timeline[0].link",
    ),
    "rate 0": (("experiment", "timeline"), [ENTRY | {"impair": {"rate": 0}}], "timeline[0].impair.rate"),
    "a storm of no priorities": (
        ("experiment", "timeline"),
        [STORM | {"storm": {"priorities": []}, "for": "1us"}],
        "timeline[0].storm.priorities",
    ),
    "priority {number} is not between 0 and 7": [
        (("experiment", "lossless", "priority"), 8, "lossless.priority"),
        (
            ("experiment", "timeline"),
            [STORM | {"storm": {"priorities": [8]}, "for": "1us"}],
            "timeline[0].storm.priorities[0]",
        ),
    ],
    "a storm of 0 quanta": (
        ("experiment", "timeline"),
        [STORM | {"storm": {"quanta": 0}, "for": "1us"}],
        "timeline[0].storm.quanta",
    ),
    "a storm is on for a part of its period": (
        ("experiment", "timeline"),
        [STORM | {"storm": {"period": "1us", "duty": 2}, "for": "1us"}],
        "timeline[0].storm.duty",
    ),
    # workload
    "workload schema {} is not {SCHEMA}": COMPILED,
    "recovery by erasure, and no erasure code": COMPILED,
    "a block of {} data and {} parity packets": (
        ("experiment", "transport", "erasure"),
        {"data": 250, "parity": 7},
        "transport.erasure",
    ),
    "a window of {} bytes holds no block of {} packets": (
        ("experiment", "transport"),
        {"recovery": "erasure", "window": "64KiB"},
        "transport.window",
    ),
    "a chunk of {chunk} packets, and a window of {window}": [
        (("experiment", "transport"), {"recovery": "timer", "window": "32KiB"}, "transport.window"),
        (("experiment", "transport"), {"recovery": "timer", "chunk": 0}, "transport"),
    ],
    "a chunk cannot be told to wait for its receive": (
        ("experiment", "transport"),
        {"recovery": "timer", "verb": "send", "receive-queue": "posted"},
        "transport",
    ),
    "congestion control: {}": WRAPS,
    "a DSCP is below 64": COMPILED,
    "qp {index}: DSCP out of range": COMPILED,
    "qp {index}: a priority or a DSCP alone": COMPILED,
    "a divisor is of sums, and at least 1": COMPILED,
    "DSCP out of range": (("experiment", "lossless", "priority"), -1, "lossless.priority"),
    "rank {index}: node {} is not a host": (
        ("experiment", "workload", "ranks"),
        ["a1", "leaf"],
        "workload.ranks",
    ),
    "qp {index}: ranks {} and {}": COMPILED,
    "qp {index}: its ranks cannot copy to each other": COMPILED,
    "qp {index}: uses a port that is not there": (
        ("experiment", "transport", "port"),
        "eth9",
        "transport.port",
    ),
    "qp {index}: both its ends are on one port": COMPILED,
    "qp {index}: number {} is not free": "test_more_queue_pairs_than_numbers",
    "path MTU {mtu} is not one of 256, 512, 1024, 2048, 4096": ((*TRANSPORT, "mtu"), 1000, "transport.mtu"),
    "frames of {mtu} and {header_bytes} bytes, with acknowledgements of {ack_bytes}": (
        (*TRANSPORT, "frames"),
        {"payload": 4096, "header": 10, "ack": 64},
        "transport.frames.header",
    ),
    "real frames have the sizes of RoCEv2": "a run on the real clock is refused before its workload is compiled",
    "real frames carry no telemetry": "a run on the real clock is refused before its workload is compiled",
    "series: a period takes time, and there are two points at least": (("experiment", "series"), "0s", "series"),
    "the queue pairs are not those of the trace": TRACE,
    "the trace is not matched": TRACE,
    "an op of it never begins": TRACE,
    "ack_every 0": (("experiment", "transport", "ack-every"), 0, "transport.ack-every"),
    "rnr: a timer is below 32, retries at most {RNR_FOR_EVER}": [
        (("experiment", "transport", "rnr-timer"), 32, "transport.rnr-timer"),
        (("experiment", "transport", "rnr-retries"), 8, "transport.rnr-retries"),
    ],
    "timeout 0": (("experiment", "transport", "timeout"), 0, "transport.timeout"),
    "a window of {} bytes is not 1 to {MAX_WINDOW_PACKETS} packets": [
        (("experiment", "transport"), {"window": "16GB", "mtu": 1024}, "transport.window"),
        (("experiment", "transport", "window"), 4095, "transport.window"),
    ],
    "requires an op that is not there": RANGE,
    "uses a QP that is not its own": RANGE,
    "message above 2 GiB": "longer ones are cut: tests/virtual/test_message_sizes.py",
    "outside the rank's memory": RANGE,
    "no room for {bytes} bytes of memory of rank {rank}": "reckoned before: tests/virtual/test_memory_use.py",
}

# What a key may be each by itself, and comes to more than 64 bits, or to nothing, together with others.
DERIVED: dict[str, Case] = {
    "a depth": ((*LEAF, "thresholds"), {"xoff": LARGEST}, "topology.nodes.leaf.buffer"),
    "a depth by itself": (
        LEAF,
        {"kind": "switch", "buffer": "auto", "thresholds": {"headroom": LARGEST}},
        "topology.nodes.leaf.buffer",
    ),
    "lossy queues": (
        LEAF,
        {"kind": "switch", "buffer": "auto", "lossy-queue": LARGEST},
        "topology.nodes.leaf.buffer",
    ),
    "a fibre": ((*LINK, "length"), f"{LARGEST}mm", "topology.links[0].length"),
    "flaps": (
        ("experiment", "timeline"),
        [ENTRY | {"impair": {"flap": {"period": "9000000s", "count": 3}}}],
        "timeline[0].impair.flap.period",
    ),
    "flaps that no run reaches": (
        ("experiment", "timeline"),
        [ENTRY | {"impair": {"flap": {"period": "1s", "count": 1000}}}],
        "timeline[0].impair.flap.period",
    ),
}

FINE: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "the largest window": (("experiment", "transport"), {"window": (2**23 - 1) * 1024, "mtu": 1024}),
    "a lossy pool that auto makes room for": (LEAF, {"kind": "switch", "buffer": "auto", "lossy-pool": "2GiB"}),
    "reserves that auto makes room for": (LEAF, {"kind": "switch", "buffer": "auto", "lossy-reserve": "64MB"}),
    "more steps than picoseconds": (
        ("experiment", "timeline"),
        [ENTRY | {"impair": {"ramp": {"delay": ["1us", "2us"], "steps": 8}}, "for": "1ps"}],
    ),
}


def said(where: tuple[str | int, ...], value: Any) -> tuple[Json, Json]:
    """Return a lab and an experiment with one value put in."""
    documents = {"lab": copy.deepcopy(LAB), "experiment": copy.deepcopy(EXPERIMENT)}
    place: Any = documents
    for step in where[:-1]:
        place = place[step] if isinstance(place, list) else place.setdefault(step, {})
    place[where[-1]] = value
    return documents["lab"], documents["experiment"]


def checked(beside: Path, lab: Json, experiment: Json) -> Trial:
    """Write both down, as JSON, which is YAML; read and check them as `testbed run` does."""
    file = beside / "limits.yaml"
    file.write_text(json.dumps(lab))
    (beside / "it.yaml").write_text(json.dumps(experiment | {"topology": file.name}))
    read = load_experiment(beside / "it.yaml")
    trial = Trial(read, load_lab(read.topology))
    preflight.check(trial)
    return trial


CASES = [
    pytest.param(*case, id=f"{text}-{number}")
    for text, entry in FAULTS.items()
    if not isinstance(entry, str)
    for number, case in enumerate(entry if isinstance(entry, list) else [entry])
] + [pytest.param(*case, id=name) for name, case in DERIVED.items()]


@pytest.mark.parametrize(("where", "value", "key"), CASES)
def test_every_limit_is_a_fault_with_its_key(
    tmp_path: Path, where: tuple[str | int, ...], value: Any, key: str
) -> None:
    with pytest.raises(InputError) as caught:
        checked(tmp_path, *said(where, value))
    assert caught.value.exit_code == 2
    assert any(fault.key.startswith(key) for fault in caught.value.faults), caught.value


@pytest.mark.parametrize(("where", "value"), FINE.values(), ids=FINE)
def test_what_is_within_all_limits_is_loaded(tmp_path: Path, where: tuple[str | int, ...], value: Any) -> None:
    trial = checked(tmp_path, *said(where, value))
    (shape,) = trial.series.shapes()
    fabric = loaded_fabric(trial, trial.collective.schedule(shape))
    fabric.impair(json.dumps(trial.changes))


def test_more_queue_pairs_than_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 17 + MOST == 2**24
    monkeypatch.setattr("testbed.plan.queue_pairs.MOST", 0)
    with pytest.raises(TestbedError, match=r"workload\.ranks: 1 pairs of ranks talk"):
        checked(tmp_path, LAB, EXPERIMENT)


# How the data plane words a fault: the text behind `require(…, ||`, `Invalid(`, `fault(`, `Some(` and the like.
_WORDED = re.compile(
    r"""(?: \|\|\s | Invalid\( | new_err\( | fault\( | Err\( | ok_or\( | ok_or_else\(\|\|\s | Some\( | then\(\|\|\s )
        \{? \s* (?: format!\( \s* )? "((?:[^"\\]|\\.)*)" """,
    re.VERBOSE,
)
_ATTRIBUTE = re.compile(r'#\[error\("([^{][^"]*)"\)\]\s*NoRoom')
_FAULTY = re.compile(r"PlanError|fn fault|new_err|fn join|Result<\w+, String>")


def worded() -> Iterator[str]:
    """Yield the texts of the faults that can cross from the data plane as ValueError or MemoryError."""
    for path in sorted(SOURCES.rglob("*.rs")):
        source = path.read_text(encoding="utf-8").split("#[cfg(test)]")[0]
        if _FAULTY.search(source):
            yield from _WORDED.findall(source)
            yield from _ATTRIBUTE.findall(source)


def test_every_fault_that_can_cross_from_the_data_plane_is_listed() -> None:
    faults = set(worded())
    assert len(faults) > 80
    assert faults - FAULTS.keys() == set(), "new faults: give the models a limit with a key, and list them"
    assert FAULTS.keys() - faults == set(), "faults that are gone from the data plane"
