"""Waits for credit in the graph of pauses: each begins and ends as the credit frames of the capture say, edge by edge."""

from collections import defaultdict
from pathlib import Path

import pytest

from testbed import pcapng
from testbed.units import PS_PER_SECOND
from tests.virtual.harness import PFC_WIRE_BYTES, Json, make_trial, star
from tests.virtual.test_pauses import LENGTHS, US, WIDE, edges, messages, ran, two_tiers

ETHERNET_BYTES, FCS_BYTES = 14, 4


def credited(lab: Json) -> Json:
    """Return a lab whose links all run credits."""
    for link in lab["topology"]["links"]:
        link["flow-control"] = "credit"
    return lab


def hold_against_capture(plan: Json, pauses: Json, pcap: Path, start_ps: int) -> None:
    """Count blocks and limits of each port from a capture: each wait ends with the credit frame that lets the next frame leave.

    A NIC waits until its longest frame fits, whatever it sends next.
    """
    rates = {f"{node['name']}:{port['name']}": port["rate_bps"] for node in plan["nodes"] for port in node["ports"]}
    names = [[f"{node['name']}:{port['name']}" for port in node["ports"]] for node in plan["nodes"]]
    grants, heard_by = {}, {}
    for link in plan["links"]:
        (a, b), (to_b, to_a) = (names[end[0]][end[1]] for end in (link["a"], link["b"])), link["credits"]
        grants |= {a: to_b[0], b: to_a[0]}
        heard_by |= {a: (b, link["delay_ps"]), b: (a, link["delay_ps"])}
    limits: dict[str, list[tuple[int, int]]] = {port: [(0, grant["blocks"])] for port, grant in grants.items()}
    left: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for frame in pcapng.frames(pcap.read_bytes()):
        if frame.way != pcapng.OUTBOUND:
            continue
        if frame.data[12:14] == b"\x88\xb5":
            port, delay_ps = heard_by[frame.interface]
            heard_ns = frame.time_ns + (PFC_WIRE_BYTES * 8 * PS_PER_SECOND // rates[port] + delay_ps) // 1000
            limits[port].append((heard_ns, int.from_bytes(frame.data[23:27], "big")))
        else:
            blocks = -(
                -(ETHERNET_BYTES + int.from_bytes(frame.data[16:18], "big") + FCS_BYTES)
                // grants[frame.interface]["block_bytes"]
            )
            sent = left[frame.interface][-1][1] if left[frame.interface] else 0
            left[frame.interface].append((frame.time_ns, sent + blocks, blocks))
    hosts = {node["name"] for node in plan["nodes"] if node["kind"] == "host"}
    longest = max(blocks for port in left for _, _, blocks in left[port])
    waits = [row for row in pauses["intervals"] if row["credits"]]
    assert waits and pauses["omitted"] == 0
    for row in waits:
        begun_ns, over_ns = ((row[key] + start_ps) // 1000 for key in ("from_ps", "to_ps"))
        (_, sent, blocks) = next(each for each in left[row["port"]] if each[0] >= over_ns - 1)
        needed = sent - blocks + longest if row["port"].partition(":")[0] in hosts else sent
        granted = next(at_ns for at_ns, limit in limits[row["port"]] if limit >= needed)
        assert granted == pytest.approx(over_ns, abs=2) and begun_ns <= over_ns, "until then the next frame did not fit"
        assert row["by"] == heard_by[row["port"]][0]
        for cause, _ in row["causes"]:
            above = pauses["intervals"][cause]
            assert above["port"].partition(":")[0] == row["by"].partition(":")[0]
            assert above["from_ps"] <= row["to_ps"] - heard_by[row["port"]][1]


def test_a_slow_nic_holds_up_two_tiers_of_credits(tmp_path: Path) -> None:
    """What PAUSE does hop by hop credits do, too: the same roots, edges and victims."""
    pcap = tmp_path / "credits.pcapng"
    trial = make_trial(credited(two_tiers("50G")), "incast", LENGTHS, WIDE)
    pauses, report = ran(trial, messages(4, (0, 2, 2**21), (1, 3, 2**21)), pcap=pcap)
    root = pauses["roots"][0]
    assert (root["reason"], root["at"], root["ports"][0]) == ("slow receiver", "b1:eth1", "lb:eth1")
    assert {("lb:eth1", "spine:eth2"), ("spine:eth2", "la:eth3"), ("la:eth3", "a1:eth1")} <= edges(pauses)
    assert [(victim["src"], victim["dst"]) for victim in root["victims"]["listed"]] == [("a2", "b2")]
    assert root["sentence"].startswith("b1's NIC takes in 50 Gb/s: it held up lb:eth1, which held up spine:eth2 … ")
    hold_against_capture(trial.plan, pauses, pcap, report["start_ps"])


def test_credits_that_are_under_way_are_their_own_root() -> None:
    """Two frames of 128 KiB in flight on a link of 100 us: the far end holds nothing, and the port waits for its own credits."""
    lab = star({"a1": f"{100 * US}ps", "b1": "1us"}, **{"flow-control": "credit", "credits": "128KiB"})
    pauses, report = ran(make_trial(lab, "incast", LENGTHS, WIDE), messages(2, (0, 1, 2**20)))
    (root,) = pauses["roots"]
    assert (root["reason"], root["at"], root["ports"]) == ("credits", "a1:eth1", ["a1:eth1"])
    assert root["sentence"].startswith("a1:eth1 waits for credits that are under way; 1 port, ")
    assert root["paused_ps"] // 1000 == report["ports"]["a1:eth1"]["priorities"]["3"]["credit_wait_ns"]


def test_an_incast_over_credits_is_the_incast_that_it_is_over_pauses() -> None:
    lab = credited(star({"a1": "1us", "a2": "1us", "b1": "1us"}))
    pauses, _ = ran(make_trial(lab, "incast", LENGTHS), messages(3, (0, 2, 2**22), (1, 2, 2**22)))
    roots = {(root["reason"], root["at"]) for root in pauses["roots"]}
    assert ("incast", "sw:eth3") in roots and all(row["credits"] for row in pauses["intervals"])
    assert pauses["roots"][0]["sentence"].startswith("2 ports send into sw:eth3, more than it sends on: it held up a")
