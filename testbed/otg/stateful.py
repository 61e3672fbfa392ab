"""Flows of RoCEv2 on a session: started together, stopped together, and what is counted of each queue pair."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.contract.plan import Plan
from testbed.otg.addresses import place_of
from testbed.otg.config import Config
from testbed.otg.flows import Ends
from testbed.otg.passing import Generator
from testbed.otg.rocev2 import RoceFlow, messages, workload
from testbed.otg.validation import Refused
from testbed.units import PS_PER_MS


@dataclass
class Stateful:
    """The RoCEv2 flows that were started last, and what was counted of them when they were stopped."""

    flows: list[RoceFlow] = field(default_factory=list)
    running: bool = False
    final: Mapping[str, Any] | None = None

    def start(self, names: Sequence[str], config: Config, plan: Plan, ends: Ends, engine: Generator) -> None:
        """Start flows. Raises Refused where others run that are not among them."""
        if self.running and {flow.name for flow in self.flows} - set(names):
            raise Refused(["traffic.flow_transmit.flow_names: RoCEv2 flows start together; stop those that run first"])
        self.flows = [config.devices.flows[name] for name in names]
        at = {place_of(plan, n, p): (n, p) for n, node in enumerate(plan["nodes"]) for p in range(len(node["ports"]))}
        ports = config.ports
        loaded = workload(
            config.devices,
            self.flows,
            {name: at[port.place] for name, port in ports.items()},
            {name: ends.rate_bps[port.place] for name, port in ports.items()},
            {name: ends.priorities[port.place] for name, port in ports.items()},
        )
        engine.load(json.dumps(loaded))
        engine.impair(json.dumps(self._rates(config, plan, ends, share=True)))
        self.running, self.final = True, None

    def stop(self, names: Sequence[str], config: Config, plan: Plan, ends: Ends, engine: Generator) -> None:
        """Stop flows. Raises Refused for some of those that run without the others."""
        if not self.running or not {flow.name for flow in self.flows} & set(names):
            return
        if {flow.name for flow in self.flows} - set(names):
            raise Refused(["traffic.flow_transmit.flow_names: RoCEv2 flows stop together; name all that run"])
        self.final = json.loads(engine.report())
        engine.load(json.dumps(workload(config.devices, [], {}, {}, {})))
        engine.impair(json.dumps(self._rates(config, plan, ends, share=False)))
        self.running = False

    def _rates(self, config: Config, plan: Plan, ends: Ends, *, share: bool) -> list[dict[str, Any]]:
        """Return changes of the rates at which the flows' ports send: the share that their flows are to use, or all of it."""
        changes = []
        for name, percent in {flow.qp.port: flow.rate_percent for flow in self.flows}.items():
            place = config.ports[name].place
            rate_bps = ends.rate_bps[place] * (percent if share else 100) // 100
            for index, link in enumerate(plan["links"]):
                for way, end in enumerate((link["a"], link["b"])):
                    if place_of(plan, *end) == place:
                        changes.append({"link": index, "way": way, "rate_bps": rate_bps})
        return changes

    def rows(self, config: Config, ends: Ends, report: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the metrics of each flow's queue pair."""
        report = self.final if self.final is not None else report
        rows, begin = [], 0
        for index, flow in enumerate(self.flows):
            count = messages(flow, ends.rate_bps[config.ports[flow.qp.port].place])
            sent, begin = report["flows"][begin : begin + count], begin + count
            rows.append(_row(flow, config, self._connection(index, config, report), sent, report))
        return rows

    def _connection(self, index: int, config: Config, report: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the row of the sending end of a flow's queue pair: two rows a pair, in the order of the workload."""
        sender = config.ports[self.flows[index].qp.port].node
        pair = report["qps"][2 * index : 2 * index + 2]
        return next((row for row in pair if row["a"] == sender), {})


def _row(
    flow: RoceFlow,
    config: Config,
    connection: Mapping[str, Any],
    sent: Sequence[Mapping[str, Any]],
    report: Mapping[str, Any],
) -> dict[str, Any]:
    done = [each for each in sent if each["completion_ps"] is not None]
    packets = -(-flow.message_bytes // flow.qp.mtu_bytes)
    peer = next((qp for qp in config.devices.qps.values() if qp.ip == flow.qp.to_ip and qp.to_ip == flow.qp.ip), None)
    began_ps = min((each["start_ps"] for each in sent), default=0)
    ended_ps = max((each["completion_ps"] for each in done), default=began_ps)
    data_tx = connection.get("packets_tx", 0)
    retransmitted = connection.get("retransmitted", 0)
    received = len(done) * packets
    seconds = (ended_ps - began_ps) / 10**12
    return {
        "flow_name": flow.name,
        "port_tx": flow.qp.port,
        "port_rx": flow.to,
        "src_qp": flow.qp.number,
        "dest_qp": peer.number if peer is not None else flow.qp.number,
        "src_ipv4": flow.qp.ip,
        "dest_ipv4": flow.qp.to_ip,
        "data_frames_tx": data_tx,
        "data_frames_rx": received,
        "frame_delta": max(0, data_tx - retransmitted - received),
        "data_frames_retransmitted": retransmitted,
        "tx_bytes": (data_tx - retransmitted) * flow.qp.mtu_bytes,
        "rx_bytes": len(done) * flow.message_bytes,
        "data_rx_rate": len(done) * flow.message_bytes * 8 / 10**6 / seconds if seconds else 0.0,
        "message_tx": len(done) + (data_tx - retransmitted > received),
        "message_complete_rx": len(done),
        "message_fail": int(connection.get("error") is not None),
        "flow_completion_time": (ended_ps - began_ps) // PS_PER_MS,
        "ack_rx": connection.get("acks_rx", 0),
        "nak_rx": connection.get("naks_rx", 0),
        "first_timestamp": str(began_ps // 1000),
        "last_timestamp": str(ended_ps // 1000),
    }
