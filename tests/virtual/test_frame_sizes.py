"""Packets with the sizes of other simulators, under the virtual clock."""

from pathlib import Path

import pytest

from testbed.errors import InputError, UsageError
from testbed.experiment.file import experiment_from
from testbed.experiment.transport import Transport
from testbed.lab.topology import lab_from
from testbed.plan.packets import Hop, alone_ps
from testbed.run.trial import Trial
from testbed.schema.source import Source
from testbed.study import preflight
from testbed.traffic import RankSchedule, Recv, Schedule, Send
from tests.virtual.harness import PS_PER_BYTE, Json, check_conservation, finish, loaded_fabric, run_trial

FLIGHT_PS = 10**6
LINKS = 3
OWN = {"payload": 1000, "header": 48, "ack": 60}


def trial_of(transport: Json, **settings: object) -> Trial:
    """Return two hosts with two switches between them, links of 100G and 1 us."""
    nodes = {name: {"kind": "host"} for name in ("a", "b")} | {
        name: {"kind": "switch", "buffer": "auto"} for name in ("left", "right")
    }
    ends = [["a:eth1", "left:eth1"], ["left:eth2", "right:eth1"], ["right:eth2", "b:eth1"]]
    links = [{"endpoints": pair, "delay": "1us"} for pair in ends]
    lab = lab_from(Source("line", {"name": "line", "topology": {"nodes": nodes, "links": links}}))
    document = {"topology": "line", "transport": transport, "workload": {"collective": "incast"}, **settings}
    return Trial(experiment_from(Source("experiment", document)), lab)


def one_message(transport: Json, length: int) -> Json:
    """Send a message from one end to the other; return the report."""
    schedule = Schedule((RankSchedule(0, (Send(1, 0, length, 0),)), RankSchedule(0, (Recv(0, 0, length),))))
    trial = trial_of(transport)
    report = finish(loaded_fabric(trial, schedule))
    check_conservation(report)
    return report


def sender_ps(report: Json) -> int:
    return int(report["ranks"][0]["finish_ps"] - report["start_ps"])


@pytest.mark.parametrize(
    ("frames", "sizes"),
    [("uet-htsim", (4086, 64, 64)), ({"preset": "csg-htsim", "ack": 84}, (4096, 64, 84)), (OWN, (1000, 48, 60))],
)
@pytest.mark.parametrize("length", [1, 40_861, 2_000_000])
@pytest.mark.parametrize("verb", ["send", "write"])
def test_a_message_takes_the_closed_form_of_its_sizes(
    frames: object, sizes: tuple[int, ...], length: int, verb: str
) -> None:
    """(N - 1 + L - 1) full packets, the last one, the flight, and L acknowledgements and the flight back."""
    payload, header, ack = sizes
    count = -(-length // payload)
    last = length - (count - 1) * payload + header
    full = payload + header if count > 1 else last
    there = ((count - 1) * full + last + (LINKS - 1) * full) * PS_PER_BYTE
    if count > 1 and last < full:
        # The last packet follows those before it, and overtakes none.
        there = (count - 1 + LINKS - 1) * full * PS_PER_BYTE + last * PS_PER_BYTE
    expected = there + 2 * LINKS * FLIGHT_PS + LINKS * ack * PS_PER_BYTE
    report = one_message({"frames": frames, "verb": verb, "window": "16MB"}, length)
    assert sender_ps(report) == expected


def test_flows_alone_take_what_the_fabric_takes() -> None:
    """The base of slowdowns is reckoned with the same sizes."""
    transport = Transport.model_validate({"frames": OWN})
    hops = [Hop(FLIGHT_PS, 100 * 10**9)] * LINKS
    report = one_message({"frames": OWN, "window": "16MB"}, 123_457)
    back = LINKS * (FLIGHT_PS + OWN["ack"] * PS_PER_BYTE)
    assert alone_ps(123_457, hops, transport) == sender_ps(report) - back


def test_buffers_hold_packets_without_preamble_and_gap() -> None:
    report = one_message({"frames": OWN, "window": "16MB"}, 5000)
    sent = report["ports"]["left:eth2"]["priorities"]["3"]
    assert (sent["frames_tx"], sent["bytes_tx"]) == (5, 5 * (1000 + 48 - 20))
    back = report["ports"]["right:eth1"]["priorities"]["3"]
    assert back["bytes_tx"] == back["frames_tx"] * (60 - 20)


@pytest.mark.parametrize("recovery", ["go-back-n", "selective-repeat", "erasure", "timer"])
def test_payloads_arrive_whole_under_losses(recovery: str) -> None:
    transport = {"frames": OWN, "recovery": recovery, "chunk": "16kB", "ack-every": 4}
    workload = {"collective": "all_reduce", "size": 200_004}
    trial = trial_of(
        transport, workload=workload, timeline=[{"at": "1us", "link": "left:eth2", "impair": {"loss": "1%"}}]
    )
    outcome = run_trial(trial)
    assert outcome.complete
    assert [row["wrong"] for row in outcome.rows] == [0]
    assert outcome.report["drops"]["link"] > 0


def test_real_frames_and_captures_keep_the_sizes_of_rocev2(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"transport\.frames: real frames have the headers of RoCEv2"):
        preflight.check(trial_of({"frames": "uet-htsim"}, clock="real"))
    with pytest.raises(UsageError, match="a capture holds frames of RoCEv2"):
        run_trial(trial_of({"frames": "uet-htsim"}), tmp_path / "capture.pcapng")


@pytest.mark.parametrize(
    ("transport", "fault"),
    [
        ({"frames": "htsim"}, 'no set of frame sizes is called "htsim"'),
        ({"frames": {"payload": 1000}}, "frames need header, ack, or a preset"),
        ({"frames": {**OWN, "ack": 23}}, "greater than or equal to 24"),
        ({"frames": {**OWN, "payload": 10_000}}, "less than or equal to 9192"),
        ({"frames": {**OWN, "payload": 9000, "header": 217}}, "payload and header come to 9217 bytes, more than 9216"),
        ({"frames": OWN, "mtu": 1024}, "give frames.payload instead"),
        ({"frames": OWN, "recovery": "timer"}, "not a multiple of the MTU, 1000"),
        ({"frames": {**OWN, "payload": 8000}}, "do not fit link"),
    ],
)
def test_sizes_that_cannot_be_are_refused(transport: Json, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        preflight.check(trial_of(transport))
