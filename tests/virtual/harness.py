"""What the tests of the virtual clock share: the labs and runs of validation, and what every report must hold."""

from pathlib import Path

from testbed.run.execution import Outcome
from testbed.run.perform import run_virtual
from testbed.run.trial import Trial
from validation.fabric import (
    ACK_WIRE_BYTES,
    AETH_BYTES,
    FCS_BYTES,
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    GAP_BYTES,
    MTU,
    PFC_BYTES,
    PFC_WIRE_BYTES,
    PS_PER_BYTE,
    RATE_BPS,
    RETH_BYTES,
    ROCE_BYTES,
    Json,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    priority,
    report_of,
    run_until,
    star,
)

__all__ = [
    "ACK_WIRE_BYTES",
    "AETH_BYTES",
    "FCS_BYTES",
    "FULL_FRAME_BYTES",
    "FULL_WIRE_BYTES",
    "GAP_BYTES",
    "MTU",
    "PFC_BYTES",
    "PFC_WIRE_BYTES",
    "PS_PER_BYTE",
    "RATE_BPS",
    "RETH_BYTES",
    "ROCE_BYTES",
    "TRANSFER_LOCAL_PS",
    "TRANSFER_MESSAGE_BYTES",
    "Json",
    "check_conservation",
    "finish",
    "flows_to_last",
    "loaded_fabric",
    "make_trial",
    "priority",
    "report_of",
    "run_trial",
    "run_until",
    "star",
    "transfer",
]


def run_trial(trial: Trial, pcap: Path | None = None) -> Outcome:
    """Run all rows of a trial under the virtual clock, as `testbed run` does."""
    return run_virtual(trial, pcap, lambda progress: None)


def check_conservation(report: Json) -> None:
    """Fail unless every frame sent was delivered or dropped, none is left, and no invariant broke on the way.

    Frames of hosts are conserved; of the losses on links, PAUSE and credit frames are those that were sent but never heard.
    """
    counts = report["conservation"]
    assert counts["sent"] == counts["delivered"] + counts["dropped"] and counts["in_flight"] == 0
    entries = [entry for port in report["ports"].values() for entry in port["priorities"].values()]
    unheard = sum(entry[f"{kind}_tx"] - entry[f"{kind}_rx"] for entry in entries for kind in ("pause", "credit"))
    assert 0 <= sum(report["drops"].values()) - counts["dropped"] <= unheard
    assert counts["sent"] > 0 and report["violations"] == []


TRANSFER_MESSAGE_BYTES = 2**26
TRANSFER_LOCAL_PS = 10**6


def transfer(
    span_ps: int, loss: tuple[float, float], messages: int, *settings: str, rate: str = "100G"
) -> tuple[float, Json]:
    """Send messages of 64 MiB over a span that loses frames, there and back; return payload bits a second, and the report.

    The receiver is a microsecond behind the switch at the far end of the span.
    """
    lab = star({"a1": f"{span_ps}ps", "b1": f"{TRANSFER_LOCAL_PS}ps"}, loss=list(loss))
    for link in lab["topology"]["links"]:
        link["rate"] = rate
    trial = make_trial(lab, "incast", "workload.payload=false", *settings)
    report = finish(loaded_fabric(trial, flows_to_last(1, *[TRANSFER_MESSAGE_BYTES] * messages)))
    assert report["complete"]
    check_conservation(report)
    taken_ps = report["ranks"][1]["finish_ps"] - report["start_ps"]
    return messages * TRANSFER_MESSAGE_BYTES * 8 * 10**12 / taken_ps, report
