"""Requests that cannot be meant, or are not supported, are refused with the place of what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testbed.otg.api import Api
from tests.virtual.otg import switch_lab, virtual_generator

Json = dict[str, Any]
PORTS = [{"name": "a", "location": "h1"}, {"name": "b", "location": "h2:eth1"}]
TX_RX = {"choice": "port", "port": {"tx_name": "a", "rx_names": ["b"]}}


def flow(**keys: Any) -> Json:
    return {"ports": PORTS, "flows": [{"name": "f", "tx_rx": TX_RX, **keys}]}


@pytest.fixture(scope="module")
def api() -> Api:
    return Api(switch_lab(2), "virtual", virtual_generator, None, "test")


def refused(api: Api, document: Any, path: str = "/config", method: str = "POST") -> list[str]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    answer = api.answer(method, path, body)
    error = json.loads(answer.body)
    assert answer.status == error["code"] and error["kind"] == "validation", error
    assert 400 <= answer.status < 500
    errors: list[str] = error["errors"]
    return errors


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"lags": []}, "lags: not supported by this server"),
        ({"lugs": []}, "lugs: not a field of this object"),
        ([], "must be an object, not a list"),
        ({"ports": {}}, "ports: must be a list, not an object"),
        ({"ports": [{}]}, "ports[0].name: required"),
        ({"ports": [{"name": "x"}]}, "ports[0].location: the lab has no host x; it has h1, h2"),
        ({"ports": [{"name": "h1", "location": "h1:eth9"}]}, "ports[0].location: h1 has no port eth9; it has eth1"),
        ({"ports": [*PORTS, {"name": "a", "location": "h1"}]}, "ports[2].name: a is there twice"),
        (flow(rate={"choice": "pps", "pps": 0}), "flows[0].rate.pps: must be from 1 to 18446744073709551615, not 0"),
        (flow(rate={"pps": "many"}), "flows[0].rate.pps: must be a whole number, not 'many'"),
        (flow(rate={"percentage": 101}), "flows[0].rate.percentage: must be from 0 to 100, not 101"),
        (flow(rate={"choice": "packets"}), "flows[0].rate.choice: must be pps or bps"),
        (flow(packet=[{"choice": "ipv6"}]), "flows[0].packet[0].ipv6: not supported by this server"),
        (flow(packet=[{"choice": "ipv4"}]), "flows[0].packet[0]: a frame begins with ethernet"),
        (flow(packet=[{}, {"choice": "udp"}]), "flows[0].packet[1]: udp cannot follow ethernet"),
        (
            flow(packet=[{"ethernet": {"dst": {"value": "zz"}}}]),
            "flows[0].packet[0].ethernet.dst.value: must be a MAC address",
        ),
        (
            flow(packet=[{}, {"ipv4": {"src": {"auto": {"choice": "dhcp"}}}}]),
            "flows[0].packet[1].ipv4.src.auto: not supported by this server",
        ),
        (
            flow(packet=[{}, {"ipv4": {"priority": {"dscp": {"phb": {"value": 64}}}}}]),
            "flows[0].packet[1].ipv4.priority.dscp.phb.value: must be from 0 to 63, not 64",
        ),
        (flow(size={"fixed": 60_000}), "flows[0].size: a frame has 9234 bytes at most"),
        (
            flow(packet=[{}, *({"choice": each} for each in ("vlan", "vlan", "ipv4", "udp"))], metrics={"enable": True}),
            "flows[0].size: metrics need frames of 68 bytes",
        ),
        (flow(size={"increment": {"start": 64, "end": 9000}}), "flows[0].packet: its sizes and patterns come again after"),
        (
            {"ports": PORTS, "flows": [{"name": "f", "tx_rx": {"port": {"tx_name": "c"}}}]},
            "flows[0].tx_rx.port.tx_name: no port is called c",
        ),
        (
            {"ports": PORTS, "layer1": [{"name": "l", "port_names": ["a"], "flow_control": {"choice": "ieee_802_3x"}}]},
            "layer1[0].flow_control.ieee_802_3x: not supported by this server",
        ),
        (b"{", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"1" * 5_000, "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'{"flows": [{"rate": {"percentage": 1e999}}]}', "flows[0].name: required"),
    ],
)  # fmt: skip
def test_a_configuration_is_refused_by_field(api: Api, document: Any, message: str) -> None:
    errors = refused(api, document)
    assert any(error.startswith(message) for error in errors), errors


def test_a_refused_configuration_leaves_the_one_before(api: Api) -> None:
    good = flow()
    assert api.answer("POST", "/config", json.dumps(good).encode()).status == 200
    refused(api, flow(rate={"pps": 0}))
    assert json.loads(api.answer("GET", "/config", b"").body) == good


@pytest.mark.parametrize(
    ("path", "document", "message"),
    [
        ("/control/state", {}, "choice: required"),
        ("/control/state", {"choice": "traffic"}, "traffic.choice: required"),
        ("/control/action", {"choice": "protocol"}, "action: not supported"),
        ("/monitor/metrics", {"choice": "bgpv4"}, "bgpv4: not supported by this server"),
        ("/monitor/metrics", {"flow": {"flow_names": ["x"]}}, "flow.flow_names[0]: no flow is called x"),
        ("/monitor/states", {"choice": "bgp_prefixes"}, "bgp_prefixes: not supported by this server"),
        ("/monitor/capture", {"port_name": "../../etc/passwd"}, "port_name[0]: no port"),
        ("/monitor/capture", {"port_name": "a"}, "port_name: a has no capture"),
        ("/nowhere", {}, "/nowhere: there is no such resource"),
    ],
)
def test_other_requests_are_refused_by_field(api: Api, path: str, document: Json, message: str) -> None:
    api.answer("POST", "/config", json.dumps(flow()).encode())
    errors = refused(api, document, path)
    assert any(error.startswith(message) for error in errors), errors


def test_what_needs_a_configuration_says_so() -> None:
    bare = Api(switch_lab(2), "virtual", virtual_generator, None, "test")
    assert refused(bare, {}, "/monitor/metrics") == ["no configuration: set one first"]


def test_hostile_documents_are_answered(api: Api) -> None:
    """Every value of a sound configuration in turn becomes one of another type: each is answered, none with an inner fault."""
    sound = flow(
        packet=[
            {"ethernet": {"dst": {"increment": {"start": "02:00:00:00:00:01", "count": 2}}}},
            {"ipv4": {"src": {"value": "10.0.0.1"}}},
        ],
        size={"weight_pairs": {"custom": [{"size": 100, "weight": 1}]}},
        duration={"burst": {"bursts": 1, "packets": 2, "inter_burst_gap": {"bytes": 1}}},
        metrics={"enable": True, "latency": {"enable": True}},
        payload={"fixed": {"pattern": "abc"}},
    )  # fmt: skip
    values: list[Any] = [None, True, -1, 10**30, 1.5, "", "x" * 5000, [], {}, [[]], {"choice": "x"}, "\ud800"]
    for place in places(sound):
        for value in values:
            changed = json.loads(json.dumps(sound))
            at = changed
            for key in place[:-1]:
                at = at[key]
            at[place[-1]] = value
            answer = api.answer("POST", "/config", json.dumps(changed).encode())
            assert answer.status in (200, 400), (place, value)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [below for key, each in entries for below in ((*at, key), *places(each, (*at, key)))]
