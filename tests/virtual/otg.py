"""A generator served for tests, with snappi's client, on a switch that may be defective."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import snappi

from testbed._dataplane import VirtualFabric
from testbed.contract.plan import Plan
from testbed.otg.api import Api
from testbed.otg.passing import Generator
from testbed.otg.server import Server, tls_context
from tests.virtual.harness import Json, make_trial

US = 1_000
"""ns"""


def switch_lab(hosts: int = 3, rates: Sequence[str] = (), settings: Sequence[str] = (), **switch: Any) -> Plan:
    """Return the plan of a switch `leaf` with so many hosts h1, h2 …, each 1 us away at 100G or at its rate."""
    nodes: Json = {f"h{number}": {"kind": "host"} for number in range(1, hosts + 1)}
    nodes["leaf"] = {"kind": "switch", "lossless": [3, 4], "thresholds": {"xoff": 60_000, "xon": 40_000}, **switch}
    links = [
        {"endpoints": [f"h{n}:eth1", f"leaf:eth{n}"], "delay": "1us", "rate": (rates or ("100G",) * hosts)[n - 1]}
        for n in range(1, hosts + 1)
    ]
    data = {"name": "otg", "topology": {"nodes": nodes, "links": links}}
    return make_trial(data, "all_reduce", *settings).plan


def defective(plan: Plan, *defects: str) -> Plan:
    """Return a plan whose switch has these defects."""
    nodes = json.loads(json.dumps(plan["nodes"]))
    for node in nodes:
        if node["kind"] == "switch":
            node["defects"] = list(defects)
    return {**plan, "nodes": nodes}


@contextmanager
def virtual_generator(plan: Plan) -> Iterator[Generator]:
    yield VirtualFabric(json.dumps(plan))


@contextmanager
def served(plan: Plan, tls: bool = False, step_ps: int | None = None) -> Iterator[snappi.Api]:
    """Serve a generator on a plan, and return snappi's client of it."""
    api = Api(plan, "virtual", virtual_generator, step_ps, "test")
    server = Server(("127.0.0.1", 0), api, tls_context("127.0.0.1") if tls else None)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    client = snappi.api(location=server.url, verify=False)
    try:
        yield client
    finally:
        client._transport._session.close()
        server.shutdown()
        server.server_close()
        thread.join()
        api.close()


def lossless_ports(config: Any, *names: str) -> None:
    """Add ports of these hosts, whose queues obey PFC."""
    for name in names:
        config.ports.add(name=name, location=name)
    layer = config.layer1.add(name="l1", port_names=list(names), speed="speed_100_gbps")
    layer.flow_control.ieee_802_1qbb.pfc_delay = 0
    for each in range(8):
        setattr(layer.flow_control.ieee_802_1qbb, f"pfc_class_{each}", each)


def data_flow(config: Any, source: str, to: str, priority: int, *, size: int = 1024, percent: float = 50) -> Any:
    """Add a flow of IPv4 whose DSCP is the class selector of a priority, with all metrics."""
    flow = config.flows.add(name=f"{source}-{to}-{priority}")
    flow.tx_rx.port.tx_name, flow.tx_rx.port.rx_names = source, [to]
    ethernet, ip, _ = flow.packet.ethernet().ipv4().udp()
    ethernet.pfc_queue.value = priority
    ip.priority.dscp.phb.value, ip.priority.dscp.ecn.value = priority * 8, 1
    flow.size.fixed, flow.rate.percentage = size, percent
    metrics = flow.metrics
    metrics.enable = metrics.loss = metrics.timestamps = metrics.latency.enable = True
    return flow


def pause_flow(config: Any, source: str, *classes: int, quanta: int = 0xFFFF, pps: int = 100_000) -> Any:
    """Add a storm of PAUSE frames from a port."""
    flow = config.flows.add(name=f"pause-{source}")
    flow.tx_rx.port.tx_name = source
    pause = flow.packet.add().pfcpause
    pause.class_enable_vector.value = sum(1 << each for each in classes)
    for each in classes:
        getattr(pause, f"pause_class_{each}").value = quanta
    flow.size.fixed, flow.rate.pps = 64, pps
    return flow


def transmit(api: snappi.Api, state: str = "start", *names: str) -> None:
    """Start, stop, pause or resume flows."""
    control = api.control_state()
    control.traffic.flow_transmit.state = state
    control.traffic.flow_transmit.flow_names = list(names)
    api.set_control_state(control)


def flow_metrics(api: snappi.Api, *names: str) -> dict[str, Any]:
    """Return the metrics of flows by name."""
    request = api.metrics_request()
    request.flow.flow_names = list(names)
    return {each.name: each for each in api.get_metrics(request).flow_metrics}


def port_metrics(api: snappi.Api) -> dict[str, Any]:
    """Return the metrics of ports by name."""
    request = api.metrics_request()
    request.port.port_names = []
    return {each.name: each for each in api.get_metrics(request).port_metrics}
