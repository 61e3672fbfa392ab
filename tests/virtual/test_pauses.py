"""Who paused whom, and why: graphs derived by hand, held against the counters and the PAUSE frames of the same run."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed import pcapng, topologies
from testbed._dataplane import VirtualFabric
from testbed.plan.workload import compile_workload
from testbed.run.pauses import pauses_of
from testbed.run.trial import Trial
from testbed.traffic import RankSchedule, Recv, Schedule, Send
from tests.virtual.harness import PFC_WIRE_BYTES, PS_PER_BYTE, Json, finish, make_trial, run_trial, star

LENGTHS, WIDE = "workload.payload=false", "transport.window=64MB"
US = 10**6


def messages(ranks: int, *flows: tuple[int, int, int]) -> Schedule:
    """Let ranks send messages of so many bytes to each other, all at once."""
    ops: list[list[Send | Recv]] = [[] for _ in range(ranks)]
    for sender, receiver, size in flows:
        ops[sender].append(Send(receiver, 0, size, 0))
        ops[receiver].append(Recv(sender, 0, size))
    return Schedule(tuple(RankSchedule(0, tuple(own)) for own in ops))


def ran(
    trial: Trial,
    schedule: Schedule,
    *changes: Json,
    cores: int = 1,
    pcap: Path | None = None,
    until_ps: int | None = None,
) -> tuple[Json, Json]:
    """Run a schedule; return the pauses as run.json has them, and the report."""
    fabric = VirtualFabric(json.dumps(trial.plan), cores)
    fabric.capture(None if pcap is None else str(pcap))
    fabric.load(json.dumps(compile_workload(trial.lab, trial.experiment, schedule)))
    if changes:
        fabric.impair(json.dumps(changes))
    if until_ps is None:
        report = finish(fabric)
    else:
        assert fabric.run_until(until_ps, 10**9)
        report = json.loads(fabric.report())
    fabric.capture(None)
    pauses = pauses_of(trial.plan, json.loads(fabric.pauses()), report["deadlocks"], report["start_ps"])
    check(pauses, report)
    return pauses, report


def check(pauses: Json, report: Json) -> None:
    """Hold a graph against the counters: all that stood still is in it, each interval hangs on one root, and edges are causes."""
    paused: Counter[tuple[str, int]] = Counter()
    for row in pauses["intervals"]:
        end = report["now_ps"] - report["start_ps"] if row["to_ps"] is None else row["to_ps"]
        paused[row["port"], row["priority"]] += end - row["from_ps"]
        assert row["root"] is not None and (row["reason"] is not None or row["causes"])
        assert sum(share for _, share in row["causes"]) <= 1.00001
        for cause, _ in row["causes"]:
            above = pauses["intervals"][cause]
            assert above["from_ps"] < row["from_ps"] or row["credits"]
            assert above["port"].partition(":")[0] == row["by"].partition(":")[0], (
                "what filled a group is of its switch"
            )
    assert pauses["unrecorded"] == 0
    if pauses["omitted"]:
        return
    counted = {
        (name, int(number)): figures["paused_ns"] + figures["credit_wait_ns"]
        for name, port in report["ports"].items()
        for number, figures in port["priorities"].items()
        if figures["paused_ns"] or figures["credit_wait_ns"]
    }
    # Counters of a span are differences of whole ns.
    assert {queue: time / 1000 for queue, time in paused.items()} == pytest.approx(counted, abs=1)
    assert sum(root["paused_ps"] for root in pauses["roots"] if root["reason"] != "headroom") == paused.total()


def edges(pauses: Json) -> set[tuple[str, str]]:
    """Return which port's standing still made which other port stand still."""
    rows = pauses["intervals"]
    return {(rows[cause]["port"], row["port"]) for row in rows for cause, _ in row["causes"]}


def two_tiers(slow: str) -> Json:
    """Return a1, a2 - la - spine - lb - b1, b2: wide between switches, so that nothing but b1 is slow."""
    kinds = {**dict.fromkeys(("a1", "a2", "b1", "b2"), "host"), **dict.fromkeys(("la", "lb", "spine"), "switch")}
    nodes: Json = {name: {"kind": kind} for name, kind in kinds.items()}
    nodes["b1"]["nic"] = {"drain": slow}
    narrow = [("a1:eth1", "la:eth1"), ("a2:eth1", "la:eth2"), ("b1:eth1", "lb:eth1"), ("b2:eth1", "lb:eth2")]
    wide = [("la:eth3", "spine:eth1"), ("lb:eth3", "spine:eth2")]
    links = [{"endpoints": list(ends), "delay": "1us", "rate": "100G"} for ends in narrow]
    links += [{"endpoints": list(ends), "delay": "1us", "rate": "400G"} for ends in wide]
    return {"name": "tiers", "topology": {"nodes": nodes, "links": links}}


def test_two_to_one_is_an_incast_at_the_port_of_the_receiver() -> None:
    trial = make_trial(star({"a1": "1us", "a2": "1us", "b1": "1us"}), "incast", LENGTHS)
    pauses, _ = ran(trial, messages(3, (0, 2, 2**24), (1, 2, 2**24)))
    (root,) = pauses["roots"]
    assert (root["reason"], root["at"], sorted(root["ports"])) == ("incast", "sw:eth3", ["a1:eth1", "a2:eth1"])
    assert edges(pauses) == set() and root["victims"]["flows"] == 0
    assert {row["by"] for row in pauses["intervals"]} == {"sw:eth1", "sw:eth2"}
    assert root["sentence"].startswith("2 ports send into sw:eth3, more than it sends on: it paused a")


def test_a_link_slower_than_what_feeds_it_is_the_root() -> None:
    trial = make_trial(star({"a1": "1us", "b1": "1us"}, {"b1": "40G"}), "incast", LENGTHS)
    (root,) = ran(trial, messages(2, (0, 1, 2**24)))[0]["roots"]
    assert (root["reason"], root["at"], root["ports"]) == ("slow link", "sw:eth2", ["a1:eth1"])


def test_a_slow_nic_behind_two_tiers_pauses_its_way_up_to_the_senders() -> None:
    trial = make_trial(two_tiers("50G"), "incast", LENGTHS, WIDE)
    pauses, report = ran(trial, messages(4, (0, 2, 2**24), (1, 3, 2**24)))
    root = pauses["roots"][0]
    assert (root["reason"], root["at"]) == ("slow receiver", "b1:eth1")
    assert root["ports"][:3] == ["lb:eth1", "spine:eth2", "la:eth3"] and set(root["ports"][3:]) == {
        "a1:eth1",
        "a2:eth1",
    }
    assert edges(pauses) == {
        ("lb:eth1", "spine:eth2"),
        ("spine:eth2", "la:eth3"),
        ("la:eth3", "a1:eth1"),
        ("la:eth3", "a2:eth1"),
    }
    assert report["drops"]["lossless"] == 0
    (victim,) = root["victims"]["listed"]
    assert (victim["src"], victim["dst"]) == ("a2", "b2") and victim["held_ps"] > 100 * US
    assert root["sentence"].startswith(
        "b1's NIC takes in 50 Gb/s: it paused lb:eth1, which paused spine:eth2 … 5 ports, "
    )
    assert root["sentence"].endswith(" in sum; victims: 1 flow that never went to b1")


def test_a_storm_is_its_own_root_whatever_else_is_slow() -> None:
    trial = make_trial(two_tiers("100G"), "incast", LENGTHS, WIDE)
    storm = {"link": 3, "way": 0, "at_ps": 50 * US, "storm": {"priorities": [3], "quanta": 65535}}
    over = {"link": 3, "way": 0, "at_ps": 650 * US, "storm": None}
    pauses, _ = ran(trial, messages(4, (0, 2, 2**24), (1, 3, 2**24)), storm, over)
    root, *after = pauses["roots"]
    assert (root["reason"], root["at"], root["ports"][0]) == ("storm", "b2:eth1", "lb:eth2")
    # From the arrival of its first frame, and the response to that, until that of its last.
    first, heard_ps = pauses["intervals"][0], PFC_WIRE_BYTES * PS_PER_BYTE + US
    response_ps = trial.plan["nodes"][5]["ports"][1]["response_ps"]
    assert (first["port"], first["from_ps"], first["to_ps"]) == (
        "lb:eth2",
        50 * US + heard_ps + response_ps,
        650 * US + heard_ps,
    )
    # Then what had piled up comes over links that are four times as fast as b2's.
    assert {(each["reason"], each["at"]) for each in after} == {("slow link", "lb:eth2")}
    assert all(each["from_ps"] > 650 * US for each in after)
    assert [(victim["src"], victim["dst"]) for victim in root["victims"]["listed"]] == [("a1", "b1")]


def test_a_port_that_carries_what_a_failed_link_does_not_is_named_for_that() -> None:
    lab = "clos:spines=2,leaves=2,hosts=4"
    down = {"at": "20us", "link": "leaf1:eth5", "impair": {"down": True}}
    settings = ("workload.size=16MiB", LENGTHS, f"timeline={json.dumps([down])}", "workload.in-place=false")
    for timeline, reasons in ((settings, {"incast", "failed link"}), (settings[:2], {"incast"})):
        trial = make_trial(lab, "all_to_all", *timeline)
        outcome = run_trial(trial)
        assert outcome.pauses is not None
        pauses = pauses_of(trial.plan, outcome.pauses, [], outcome.start_ps or 0)
        assert {root["reason"] for root in pauses["roots"]} == reasons
        rerouted = {root["at"] for root in pauses["roots"] if root["reason"] == "failed link"}
        assert "leaf1:eth5" not in rerouted and (not rerouted or "leaf1:eth6" in rerouted)


def test_a_circle_of_ports_is_the_root_of_all_that_stands_in_it() -> None:
    trial = make_trial("ring:routing=clockwise", "permutation", LENGTHS)
    pauses, report = ran(trial, messages(3, (0, 2, 2**22), (1, 0, 2**22), (2, 1, 2**22)))
    assert not report["complete"]
    circle = report["deadlocks"][0]["ports"]
    (root,) = [root for root in pauses["roots"] if root["reason"] == "deadlock"]
    assert root["at"] == circle[0] and set(circle) <= set(root["ports"]) and root["to_ps"] is None
    assert " → ".join([*circle, circle[0]]) in root["sentence"]
    last = {row["port"]: row for row in pauses["intervals"]}
    assert all(pauses["roots"][last[port]["root"]]["reason"] == "deadlock" for port in last), "all wait for the circle"


def test_too_little_headroom_is_named_where_frames_were_lost() -> None:
    trial = make_trial(star({"a1": "5us", "a2": "5us", "b1": "1us"}), "incast", LENGTHS, "lossless.headroom=40KB")
    pauses, report = ran(trial, messages(3, (0, 2, 2**22), (1, 2, 2**22)))
    lost = {port: report["ports"][port]["priorities"]["3"]["drops"]["headroom"] for port in ("sw:eth1", "sw:eth2")}
    headroom = {root["at"]: root for root in pauses["roots"] if root["reason"] == "headroom"}
    assert headroom.keys() == {port for port, frames in lost.items() if frames} != set()
    for port, root in headroom.items():
        assert f"the headroom of {port} is too small: {lost[port]} frame" in root["sentence"]
        assert set(root["ports"]) <= {"a1:eth1", "a2:eth1"}
    assert "incast" in {root["reason"] for root in pauses["roots"]}


def test_over_a_long_link_a_pause_takes_hold_when_its_frame_has_come() -> None:
    nodes: Json = {"a1": {"kind": "host"}, "b1": {"kind": "host"}, "sa": {"kind": "switch"}, "sb": {"kind": "switch"}}
    links = [
        {"endpoints": ["a1:eth1", "sa:eth1"], "delay": "1us"},
        {"endpoints": ["sa:eth2", "sb:eth1"], "delay": "400us"},
        {"endpoints": ["sb:eth2", "b1:eth1"], "delay": "1us", "rate": "40G"},
    ]
    trial = make_trial({"name": "long", "topology": {"nodes": nodes, "links": links}}, "incast", LENGTHS, WIDE)
    pauses, report = ran(trial, messages(2, (0, 1, 2**25)))
    assert report["drops"]["lossless"] == 0
    near = [row for row in pauses["intervals"] if row["port"] == "sa:eth2"]
    assert all((row["by"], row["reason"]) == ("sb:eth1", "slow link") for row in near)
    # sb holds what comes above its XOFF at 100G - 40G; the frame that says so takes 400 us.
    (group,) = [each for each in trial.plan["nodes"][3]["priority_groups"] if each["port"] == 0]
    full_ps = group["xoff_bytes"] * 8 * 10**12 // (60 * 10**9)
    assert near[0]["from_ps"] == pytest.approx(2 * 400 * US + full_ps, rel=0.05)
    far = next(row for row in pauses["intervals"] if row["port"] == "a1:eth1")
    assert far["causes"] == [[pauses["intervals"].index(near[0]), 1.0]] or far["causes"] == [
        (pauses["intervals"].index(near[0]), 1.0)
    ]


EIGHT = [(sender, 15, 2**20) for sender in range(8)]
BYSTANDERS = [(0, 14, 2**20), (3, 13, 2**20), (6, 14, 2**20)]


def three_tiers() -> Trial:
    """Return a three-tier clos of 16 hosts, the last of which takes in 20G."""
    lab: Json = topologies.generate("clos", {"tiers": "3", "rate": "100G", "delay": "1us"})
    lab["topology"]["nodes"]["h16"]["nic"] = {"drain": "20G"}
    return make_trial(lab, "incast", LENGTHS)


def test_one_nic_that_takes_in_too_little_and_its_eight_senders(tmp_path: Path) -> None:
    """The graph names the NIC and its victims, and is that of the PAUSE frames in the capture of the run, edge by edge."""
    trial, pcap = three_tiers(), tmp_path / "eight.pcapng"
    pauses, report = ran(trial, messages(16, *EIGHT, *BYSTANDERS), pcap=pcap)
    root = pauses["roots"][0]
    assert (root["reason"], root["at"]) == ("slow receiver", "h16:eth1")
    assert {(victim["src"], victim["dst"]) for victim in root["victims"]["listed"]} == {
        ("h1", "h15"),
        ("h4", "h14"),
        ("h7", "h15"),
    }
    assert root["victims"]["flows"] == 3 and root["sentence"].startswith(
        "h16's NIC takes in 20 Gb/s: it paused leaf8:eth2, which "
    )
    assert root["sentence"].endswith("victims: 3 flows that never went to h16")
    hold_against_capture(trial.plan, pauses, pcap, report["start_ps"])


@dataclass
class Stood:
    """A port that stood still: when the frame left that said so, and from when to when that held."""

    left_ns: int
    start_ns: int
    end_ns: int | None = None


def hold_against_capture(plan: Any, pauses: Json, pcap: Path, start_ps: int) -> None:
    """Derive every interval from the PAUSE frames of a capture, and check each edge by when those frames left."""
    ports = {f"{node['name']}:{port['name']}": port for node in plan["nodes"] for port in node["ports"]}
    name = [[f"{node['name']}:{port['name']}" for port in node["ports"]] for node in plan["nodes"]]
    heard_by = {}
    for link in plan["links"]:
        (a, b), delay = (name[end[0]][end[1]] for end in (link["a"], link["b"])), link["delay_ps"]
        heard_by |= {a: (b, delay), b: (a, delay)}
    stood: dict[str, list[Stood]] = defaultdict(list)
    for frame in pcapng.frames(pcap.read_bytes()):
        if frame.data[12:14] != b"\x88\x08" or frame.way != pcapng.OUTBOUND:
            continue
        quanta = int.from_bytes(frame.data[18 + 2 * 3 : 20 + 2 * 3], "big")
        port, delay = heard_by[frame.interface]
        heard_ns = frame.time_ns + (PFC_WIRE_BYTES * PS_PER_BYTE + delay) // 1000
        standing = bool(stood[port]) and stood[port][-1].end_ns is None
        if quanta and not standing:
            stood[port].append(Stood(frame.time_ns, heard_ns + ports[port]["response_ps"] // 1000))
        elif not quanta and standing:
            stood[port][-1].end_ns = heard_ns
    rows = defaultdict(list)
    for row in pauses["intervals"]:
        rows[row["port"]].append(row)
    # What was called off before it took hold kept nobody from sending.
    held = {port: [each for each in of_port if (each.end_ns or 0) > each.start_ns] for port, of_port in stood.items()}
    assert pauses["omitted"] == 0 and rows.keys() == {port for port, of_port in held.items() if of_port}
    edges_seen = 0
    for port, of_port in held.items():
        for row, seen in zip(rows[port], of_port, strict=True):
            assert (row["from_ps"] + start_ps) // 1000 == pytest.approx(seen.start_ns, abs=2)
            assert (row["to_ps"] + start_ps) // 1000 == pytest.approx(seen.end_ns, abs=2)
            for cause, _ in row["causes"]:
                # The switch that said stop had a queue that stood still before it did, by what the capture shows.
                above = pauses["intervals"][cause]
                assert above["port"].partition(":")[0] == heard_by[port][0].partition(":")[0]
                assert any(abs(each.start_ns - above["from_ps"] // 1000) <= 2 for each in held[above["port"]])
                assert above["from_ps"] // 1000 <= seen.left_ns + 1
                edges_seen += 1
    assert edges_seen > 100


@pytest.mark.parametrize("cores", [2, 4])
def test_the_graph_is_the_same_on_any_number_of_cores(cores: int) -> None:
    trial, schedule = three_tiers(), messages(16, *[(a, b, size // 4) for a, b, size in (*EIGHT, *BYSTANDERS)])

    def records(count: int) -> tuple[str, str]:
        fabric = VirtualFabric(json.dumps(trial.plan), count)
        fabric.load(json.dumps(compile_workload(trial.lab, trial.experiment, schedule)))
        report = finish(fabric)
        return fabric.pauses(), report["event_log_hash"]

    assert records(cores) == records(1)


def test_whether_causes_are_recorded_changes_nothing_else() -> None:
    trial, schedule = three_tiers(), messages(16, *[(a, b, size // 8) for a, b, size in (*EIGHT, *BYSTANDERS)])
    reports = []
    for causes in (True, False):
        fabric = VirtualFabric(json.dumps(trial.plan), 1, causes)
        fabric.load(json.dumps(compile_workload(trial.lab, trial.experiment, schedule)))
        reports.append(finish(fabric))
        assert bool(json.loads(fabric.pauses())["intervals"]) is causes
    assert reports[0] == reports[1]


def test_a_run_knows_its_own_pauses_alone() -> None:
    trial = make_trial(star({"a1": "1us", "a2": "1us", "b1": "1us"}), "incast", LENGTHS)
    fabric = VirtualFabric(json.dumps(trial.plan))
    workload = json.dumps(compile_workload(trial.lab, trial.experiment, messages(3, (0, 2, 2**22), (1, 2, 2**22))))
    seen = []
    for _ in range(2):
        fabric.begin_span("null")
        fabric.load(workload)
        report = finish(fabric)
        records = json.loads(fabric.pauses())
        pauses = pauses_of(trial.plan, records, [], report["start_ps"])
        check(pauses, report)
        assert len(records["paths"]) == 2 and all(len(path["active"]) == 1 for path in records["paths"])
        seen.append([(root["reason"], root["at"], root["intervals"]) for root in pauses["roots"]])
    assert seen[0] == seen[1] and seen[0]
