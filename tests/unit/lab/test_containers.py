"""What containers are given: each key in containerlab's words, what a fault says, and how layers come together."""

from __future__ import annotations

import pytest

from testbed.errors import TopologyError
from testbed.experiment.file import new_experiment
from testbed.lab.containers import Setup
from testbed.lab.setup import Bind, Published
from testbed.lab.topology import Lab, lab_from
from testbed.plan.check import check_plan
from testbed.plan.compile import compile_fabric
from testbed.schema.source import parse_yaml

LAB = """\
name: given
topology:
  kinds: {{host: {{env: {{A: kind, B: kind}}, sysctls: {{net.ipv4.ip_forward: 0}}, cap-add: [NET_ADMIN]}}}}
  nodes:
    a1: {{kind: host, {settings}}}
    b1: {{kind: host}}
  links: [{{endpoints: ["a1:eth1", "b1:eth1"]}}]
"""


def read(settings: str) -> Lab:
    return lab_from(parse_yaml(LAB.format(settings=settings), "lab.yaml", TopologyError))


def setup_of(settings: str) -> Setup:
    setup = read(settings).hosts[0].container.setup
    assert setup is not None
    return setup


def test_every_key_is_read_and_reaches_the_plan_of_a_lab_of_containers() -> None:
    lab = read(
        'binds: ["/srv/a:/b/:ro"], env: {B: node, C: 3, D: true}, exec: ["ip route add 10.0.0.0/8 via \'10.1.1.1\'"], '
        'cmd: "sleep 5", entrypoint: /init, ports: [8080, "127.0.0.2:8081:80/tcp"], sysctls: {net.ipv4.ip_forward: 1}, '
        "cap-add: [CAP_NET_BROADCAST], startup-config: /srv/frr.conf, "
        "healthcheck: {test: [CMD, 'true'], interval: 5, start-period: 2}"
    )
    options = ["clock=real", "driver=docker"]
    plan = compile_fabric(lab, new_experiment("x", "incast").with_overrides(options))
    check_plan(dict(plan))
    assert plan["nodes"][0]["container"].get("setup") == {
        "binds": [{"source": "/srv/a", "target": "/b", "read_only": True}],
        "env": {"A": "kind", "B": "node", "C": "3", "D": "true"},
        "exec": [["ip", "route", "add", "10.0.0.0/8", "via", "10.1.1.1"]],
        "cmd": ["sleep", "5"],
        "entrypoint": ["/init"],
        "ports": [
            {"address": "127.0.0.1", "port": 8080, "target": 8080},
            {"address": "127.0.0.2", "port": 8081, "target": 80},
        ],
        "sysctls": {"net.ipv4.ip_forward": "1"},
        "cap_add": ["NET_BROADCAST"],
        "startup_config": "/srv/frr.conf",
        "healthcheck": {"test": ["CMD", "true"], "interval_s": 5, "timeout_s": 30, "start_period_s": 2, "retries": 3},
    }
    # The other has what its kind says; and a plan of namespaces says nothing of containers.
    assert plan["nodes"][1]["container"].get("setup", {}).get("env") == {"A": "kind", "B": "kind"}  # type: ignore[union-attr]
    assert all("container" not in node for node in compile_fabric(lab, new_experiment("x", "incast"))["nodes"])


def test_a_node_without_any_of_it_is_planned_as_ever() -> None:
    text = LAB.format(settings="cpu: 2").replace("kinds:", "x-kinds:")
    lab = lab_from(parse_yaml(text, "lab.yaml", TopologyError))
    plan = compile_fabric(lab, new_experiment("x", "incast").with_overrides(["clock=real", "driver=docker"]))
    assert plan["nodes"][0]["container"] == {"image": "testbed-host", "cpu_millis": 2000, "memory_bytes": 1 << 30}


def test_processes_of_its_own_are_for_namespaces_under_the_real_clock() -> None:
    lab = read("pid: private")

    def said(*settings: str) -> list[bool | None]:
        plan = compile_fabric(lab, new_experiment("x", "incast").with_overrides(list(settings)))
        check_plan(dict(plan))
        return [node.get("private_pids") for node in plan["nodes"]]

    assert said("clock=real") == [True, None]
    assert said("clock=real", "driver=docker") == said() == [None, None]


def test_fabric_ports_and_published_ones_do_not_get_in_each_others_way() -> None:
    assert setup_of('ports: ["9000:90"]').publish == (Published(address="127.0.0.1", port=9000, target=90),)
    lab = read("ports: {scale-out: [eth1]}, publish: ['[::1]:9000:90']")
    assert lab.hosts[0].scale_out == ("eth1",)
    assert lab.hosts[0].container.setup is not None
    assert lab.hosts[0].container.setup.publish == (Published(address="::1", port=9000, target=90),)


FAULTS = {
    "binds: [nowhere]": '"nowhere" is not a bind: write SOURCE:/TARGET',
    'binds: ["a:b"]': '"a:b" is not a bind',
    'binds: ["a:/b:rx"]': '"a:/b:rx" is not a bind',
    'binds: ["a:/b/../../etc"]': "is not a place inside the container",
    'binds: ["a:/"]': "is not a place inside the container",
    "env: {1A: x}": '"1A" is not the name of a variable',
    "env: {A: [x]}": "env.A",
    "exec: ['']": "a command needs a program",
    "exec: ['a \"b']": "cannot be split into words: No closing quotation",
    "exec: [{}]": "exec[0]",
    "ports: [0]": '"0" is not a port',
    "ports: ['80/udp']": '"80/udp" is not a port: write TARGET or PORT:TARGET, of TCP',
    "ports: ['80:80']": "port 80 of the machine is below 1024",
    "ports: ['host:8080:80']": '"host" is not an address of this machine',
    "ports: ['8080:99999']": "is not a port",
    "sysctls: {kernel.panic: 1}": '"kernel.panic" is not a setting of a network stack',
    "sysctls: {net.ipv4/../x: 1}": "is not a setting of a network stack",
    "cap-add: [ALL]": '"ALL" is not a capability, like NET_ADMIN',
    "healthcheck: {test: [rm]}": "test begins with CMD or CMD-SHELL",
    "healthcheck: {test: [NONE, x]}": "test begins with CMD or CMD-SHELL",
    "healthcheck: {test: [CMD, x], interval: 0}": "healthcheck.interval",
    "pid: host": "pid",
}


@pytest.mark.parametrize("settings", FAULTS)
def test_what_cannot_be_is_a_fault_of_its_line(settings: str) -> None:
    with pytest.raises(TopologyError) as caught:
        read(settings)
    assert all(fault.line == 5 for fault in caught.value.faults)
    assert FAULTS[settings] in str(caught.value)


def test_a_bind_goes_where_it_says() -> None:
    assert setup_of('binds: ["x y:/a b:rw"]').binds == (Bind(source="x y", target="/a b"),)
