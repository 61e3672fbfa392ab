"""Which priority a frame travels on: by its DSCP, the priority group that it is counted in and the queue that it leaves by."""

from __future__ import annotations

from testbed.conformance.bench import Bench
from testbed.conformance.case import Case, Findings, Measured, Place, need_ports, partner
from testbed.conformance.device import PRIORITIES, Device, Unsuitable
from testbed.conformance.labs import MAPPED, PAIR
from testbed.contract.plan import group_of, queue_of
from testbed.sizes import SHORTEST_FRAME_BYTES

_DSCPS = range(64)


def _places(device: Device) -> list[Place]:
    need_ports(device, 2)
    if not device.named:
        raise Unsuitable("no lossless priority: PFC is off")
    ingress = device.ports[0]
    return [Place((ingress, partner(device, ingress)), device.named[0])]


def _measure(bench: Bench, place: Place) -> Measured:
    ingress, egress = place.ports
    frame_ps = max(port.line_ps(SHORTEST_FRAME_BYTES) for port in place.ports)
    groups: list[int | None] = []
    queues: list[int | None] = []
    with bench.session() as session:
        step_ps = 4 * frame_ps + session.step_ps
        for dscp in _DSCPS:
            at_ps = dscp * step_ps
            session.send(ingress, egress, 0, 1, length=SHORTEST_FRAME_BYTES, at_ps=at_ps, obeys=False, dscp=dscp)
        before = session.until(0)
        for dscp in _DSCPS:
            # By then it has come and gone, and the next one has not come.
            after = session.until(ingress.delay_ps + dscp * step_ps + 3 * frame_ps)
            came = [p for p in PRIORITIES if after.at(ingress, p)["frames_rx"] > before.at(ingress, p)["frames_rx"]]
            left = [p for p in PRIORITIES if after.at(egress, p)["frames_tx"] > before.at(egress, p)["frames_tx"]]
            groups.append(came[0] if len(came) == 1 else None)
            queues.append(left[0] if len(left) == 1 else None)
            before = after
    return {"priority_groups": groups, "queues": queues}


def _judge(bench: Bench, place: Place, measured: Measured) -> list[str]:
    findings = Findings()
    switch = bench.device.switch
    for dscp, (priority, group, queue) in enumerate(
        zip(switch["dscp_to_priority"], measured["priority_groups"], measured["queues"], strict=True)
    ):
        findings.equal(f"priority group of DSCP {dscp}", group, group_of(switch, priority))
        findings.equal(f"queue of DSCP {dscp}", queue, queue_of(switch, priority))
    return findings


CASES = (
    Case(
        name="classification",
        asserts="every DSCP leads to its priority: the priority group at ingress and the queue at egress",
        source="sonic-mgmt QoS suite (DSCP mapping)",
        labs=(PAIR, MAPPED),
        places=_places,
        measure=_measure,
        judge=_judge,
    ),
)
