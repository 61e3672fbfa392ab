"""A router that somebody else made, Debian's frr, between two switches, and hosts with what containerlab says of them."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.engine import DockerEngine
from tests.live.machine import Machine, private_machine, wait_for

pytestmark = [pytest.mark.usefixtures("require_root", "images"), pytest.mark.timeout(300)]

PUBLISHED = 17070
# No daemon starts while it is installed; as root they need not give up what root may do.
IMAGE = """\
FROM testbed-host
RUN printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
RUN echo frr >/tmp/packages && sh /usr/share/testbed/install /tmp/packages
RUN mkdir -p /run/frr /etc/frr && chown -R root:root /run/frr /etc/frr && usermod -a -G frrvty root
LABEL testbed.startup-config=/etc/frr/frr.conf
CMD ["sh", "-c", "for each in zebra staticd; do /usr/lib/frr/$each -d -u root -g root -f /etc/frr/frr.conf; done; sleep inf"]
"""
# 10.1.0.0/16 is behind b1, which no kernel of the lab knows: the router's daemon does.
CONFIG = """\
interface lo
 ip address 10.9.9.9/32
ip route 10.1.0.0/16 198.19.0.4 eth2 onlink
"""
# Addresses come in the order of the hosts' ports: a1 198.19.0.1, the router .2 and .3, b1 .4.
LAB = f"""\
name: routed
topology:
  kinds:
    linux: {{cap-add: [NET_ADMIN], env: {{COLOUR: red, SHAPE: round}}}}
  nodes:
    a1:
      kind: linux
      binds: ["notes.txt:/notes.txt:ro"]
      exec:
        - ip route add 198.19.0.4 via 198.19.0.2
        - ip route add 10.0.0.0/8 via 198.19.0.2
        - touch "/tmp/two words; $(false)"
    r:
      kind: linux
      image: testbed-frr
      cap-add: [NET_ADMIN, SYS_ADMIN]
      sysctls: {{net.ipv4.ip_forward: 1}}
      startup-config: frr.conf
    b1:
      kind: linux
      env: {{COLOUR: blue}}
      entrypoint: sh -c
      cmd: "'while :; do echo $COLOUR | nc -l -N 7000; done'"
      ports: ["{PUBLISHED}:7000"]
      exec: [ip address add 10.1.0.1/32 dev lo, ip route add 198.19.0.1 via 198.19.0.3]
      healthcheck: {{test: [CMD, test, -e, /tmp/well], interval: 1, retries: 1}}
    leaf-a: {{kind: bridge}}
    leaf-b: {{kind: bridge}}
  links:
    - {{endpoints: ["a1:eth1", "leaf-a:eth1"], vars: {{rate: 10G, length: 10m}}}}
    - {{endpoints: ["r:eth1", "leaf-a:eth2"], vars: {{rate: 10G, length: 10m}}}}
    - {{endpoints: ["r:eth2", "leaf-b:eth1"], vars: {{rate: 10G, length: 10km}}}}
    - {{endpoints: ["b1:eth1", "leaf-b:eth2"], vars: {{rate: 10G, length: 10m}}}}
"""


@pytest.fixture(scope="module", autouse=True)
def router(engine: DockerEngine, images: None) -> None:
    """Build the image of the router on that of hosts, with Debian's package."""
    if not engine.docker("images", "--quiet", "testbed-frr"):
        engine.docker_in(IMAGE.encode(), "build", "--network", "host", "--tag", "testbed-frr", "-")


@pytest.fixture
def machine(
    repo_root: Path, tmp_path: Path, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    """Give a machine whose user lets containers have SYS_ADMIN, with the files of the lab in its directory."""
    monkeypatch.setenv("TESTBED_CAPABILITIES", "SYS_ADMIN")
    for name, text in {"routed.clab.yml": LAB, "frr.conf": CONFIG, "notes.txt": "seen\n"}.items():
        (tmp_path / name).write_text(text)
    with private_machine(repo_root, tmp_path) as machine:
        yield machine
    assert engine.docker("ps", "--all", "--quiet") == ""


def said_at_port(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        return connection.makefile().read()


def execute(machine: Machine, node: str, *command: str) -> subprocess.CompletedProcess[str]:
    return machine.run("exec", "--name", "routed", node, "--", *command)


def test_a_router_of_frr_forwards_and_hosts_have_what_the_file_gives_them(
    machine: Machine, engine: DockerEngine
) -> None:
    deploy = ("deploy", "routed.clab.yml", "--driver", "docker", "--dilation", "100")
    done = machine.run(*deploy)
    assert done.returncode == 0, done.stderr
    assert "left out nothing" in done.stderr
    # What the router's kernel was told, and what its daemon was.
    assert execute(machine, "a1", "ping", "-c", "2", "-W", "20", "b1").returncode == 0
    wait_for(lambda: "10.1.0.0/16" in execute(machine, "r", "ip", "route").stdout)
    for address in ("10.9.9.9", "10.1.0.1"):
        assert " 0% packet loss" in execute(machine, "a1", "ping", "-c", "2", "-W", "20", address).stdout
    assert execute(machine, "a1", "cat", "/notes.txt").stdout == "seen\n"
    assert execute(machine, "a1", "sh", "-c", "echo more >/notes.txt").returncode != 0
    assert execute(machine, "a1", "ls", "/tmp").stdout == "two words; $(false)\n", "no shell read it"
    assert execute(machine, "a1", "printenv", "COLOUR", "SHAPE").stdout == "red\nround\n"
    assert execute(machine, "b1", "printenv", "COLOUR", "SHAPE").stdout == "blue\nround\n"
    assert said_at_port(PUBLISHED) == "blue\n"
    machine.ok("wait-for", "--name", "routed", "--node", "b1", "--state", "unhealthy", "--timeout", "60s")
    execute(machine, "b1", "touch", "/tmp/well")
    machine.ok("wait-for", "--name", "routed", "--timeout", "60s")
    assert "was up already" in machine.ok(*deploy)
    machine.ok("destroy", "--name", "routed")
    with socket.socket() as closed:
        assert closed.connect_ex(("127.0.0.1", PUBLISHED)) == errno.ECONNREFUSED


def test_what_a_container_cannot_be_given_leaves_nothing(machine: Machine, tmp_path: Path) -> None:
    lab = tmp_path / "routed.clab.yml"
    deploy = ("deploy", str(lab), "--driver", "docker", "--dilation", "100")
    failing = "exec of node b1: 'ip address add 10.1.0.1/99 dev lo' ended with status 1"
    with socket.create_server(("127.0.0.1", PUBLISHED)):
        for text, message in (
            (LAB, f"publish a port of node b1 at 127.0.0.1:{PUBLISHED}"),
            (LAB.replace("10.1.0.1/32", "10.1.0.1/99"), failing),
            (LAB.replace("notes.txt:", "nowhere.txt:"), "nowhere.txt"),
        ):
            lab.write_text(text)
            refused = machine.run(*deploy)
            assert (refused.returncode, message in refused.stderr) == (3, True), refused.stderr
            assert "Traceback" not in refused.stderr and machine.namespaces() == []
