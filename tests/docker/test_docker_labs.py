"""Labs of containers on a real engine: built, used, broken by hand, and removed without a trace."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.engine import DockerEngine
from testbed.lab.containers import DEFAULT_IMAGES
from tests.live.machine import Machine, wait_for

pytestmark = [pytest.mark.usefixtures("require_root"), pytest.mark.timeout(300)]

PAIR = ("-t", "pair", "--driver", "docker", "--dilation", "2000")
NODES = ["a1", "b1", "leaf"]


@pytest.fixture(scope="module", autouse=True)
def images(engine: DockerEngine, run_testbed: object) -> None:
    """Build both images; from then on they are there."""
    made = run_testbed("images", "build", "--format", "json", timeout_s=280)  # type: ignore[operator]
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == {"images": list(DEFAULT_IMAGES.values())}
    again = run_testbed("images", "build", "--missing", timeout_s=60)  # type: ignore[operator]
    assert again.stdout == "all images are there\n"


def names(engine: DockerEngine, lab: str = "pair") -> list[str]:
    return sorted(engine.docker("ps", "--filter", f"label=testbed.lab={lab}", "--format", "{{.Names}}").split())


def test_a_lab_of_containers_carries_a_collective_and_goes(machine: Machine, engine: DockerEngine) -> None:
    assert "is up" in machine.ok("deploy", *PAIR)
    assert "was up already" in machine.ok("deploy", *PAIR)
    assert names(engine) == [f"testbed-pair-{node}" for node in NODES]
    (row,) = machine.labs()
    assert (row["state"], row["driver"], row["nodes"]) == ("running", "docker", NODES)
    assert " 0% packet loss" in machine.ok("exec", "--name", "pair", "a1", "--", "ping", "-c", "2", "b1")
    assert machine.run("exec", "--name", "pair", "a1", "--", "sh", "-c", "exit 7").returncode == 7
    run = machine.run_carried("run", "all_reduce", *PAIR, "--clock", "real", "-b", "64K", "--format", "json")
    assert run.stdout, run.stderr
    result = json.loads(run.stdout)
    assert result["verdict"]["lossless"] and result["verdict"]["correct"] and result["verdict"]["complete"]
    machine.ok("destroy", "--name", "pair")
    assert names(engine) == []
    assert machine.namespaces() == []


def test_hosts_have_several_ports_in_containers_too(machine: Machine, engine: DockerEngine, tmp_path: Path) -> None:
    nodes = {name: {"kind": "host", "accelerators": 2} for name in ("a", "b")}
    ends = [{"endpoints": [f"a:eth{number}", f"b:eth{number}"], "rate": "10G"} for number in (1, 2)]
    path = tmp_path / "sides.yaml"
    path.write_text(json.dumps({"name": "sides", "topology": {"nodes": nodes, "links": ends}}))
    lab = ("-t", str(path), "--driver", "docker", "--dilation", "2000")
    machine.ok("deploy", *lab)
    assert names(engine, "sides") == ["testbed-sides-a", "testbed-sides-b"]
    addresses = machine.ok("exec", "--name", "sides", "a", "--", "ip", "-4", "-o", "addr").split()
    assert {"eth1", "eth2"} <= set(addresses) and len({each for each in addresses if each.startswith("198.19.")}) == 2
    settings = ("--set", "transport.port=[eth1, eth2]", "--set", "transport.qps=2", "--set", "transport.spread=slices")
    run = machine.run_carried("run", "all_reduce", *lab, "--clock", "real", "-b", "64K", *settings, "--format", "json")
    assert run.stdout, run.stderr
    result = json.loads(run.stdout)
    assert result["verdict"]["lossless"] and result["verdict"]["correct"]
    sent = [result["ports"][f"a:eth{number}"]["priorities"]["3"]["data_frames_tx"] for number in (1, 2)]
    assert sent[0] == sent[1] > 0
    # Kernels reach both addresses of the other, each by the link that leads to it.
    for line in machine.ok("exec", "--name", "sides", "b", "--", "ip", "-4", "-o", "addr", "show", "up").splitlines():
        port, address = line.split()[1], line.split()[3].partition("/")[0]
        if port != "lo":
            way = machine.ok("exec", "--name", "sides", "a", "--", "ip", "route", "get", address)
            assert f" dev {port} " in way
            machine.ok("exec", "--name", "sides", "a", "--", "ping", "-c", "1", "-W", "20", address)
    machine.ok("destroy", "--name", "sides")
    assert names(engine, "sides") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_program_in_a_container_gets_the_signals_of_its_command(
    machine: Machine, engine: DockerEngine, number: signal.Signals
) -> None:
    machine.ok("deploy", *PAIR)
    command = machine.start("exec", "--name", "pair", "a1", "--", "sleep", "336")
    wait_for(lambda: "sleep 336" in engine.docker("top", "testbed-pair-a1"))
    command.send_signal(number)
    command.communicate(timeout=30)
    assert command.returncode == 128 + number
    assert "sleep 336" not in engine.docker("top", "testbed-pair-a1")
    machine.ok("destroy", "--name", "pair")


def test_a_node_may_do_no_more_than_it_needs(machine: Machine, engine: DockerEngine) -> None:
    machine.ok("deploy", *PAIR)
    (facts,) = json.loads(engine.docker("inspect", "testbed-pair-a1"))
    host = facts["HostConfig"]
    assert host["NetworkMode"] == "none" and not host["Privileged"]
    assert host["CapDrop"] == ["ALL"]
    assert [name.removeprefix("CAP_") for name in host["CapAdd"]] == ["CHOWN", "NET_RAW", "SETGID", "SETUID"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == 1 << 30 and host["PidsLimit"] > 0
    assert facts["Config"]["Hostname"] == "a1"
    refused = machine.run("exec", "--name", "pair", "a1", "--", "ip", "link", "set", "eth1", "down")
    assert refused.returncode != 0


def test_image_and_limits_come_from_the_lab(machine: Machine, engine: DockerEngine, tmp_path: Path) -> None:
    engine.docker("tag", "testbed-host", "mine:1")
    lab = tmp_path / "mine.yaml"
    lab.write_text(
        "name: mine\n"
        "topology:\n"
        "  kinds: {host: {image: 'mine:1', memory: 64MiB}}\n"
        "  nodes:\n"
        "    a1: {kind: host, cpu: 0.5}\n"
        "    b1: {kind: host}\n"
        "  links:\n"
        "    - {endpoints: ['a1:eth1', 'b1:eth1'], rate: 100G, length: 10m}\n"
    )
    machine.ok("deploy", "-t", str(lab), "--driver", "docker", "--dilation", "2000")
    (facts,) = json.loads(engine.docker("inspect", "testbed-mine-a1"))
    assert facts["Config"]["Image"] == "mine:1"
    assert (facts["HostConfig"]["Memory"], facts["HostConfig"]["NanoCpus"]) == (64 << 20, 500_000_000)


def test_a_dead_container_shows_and_a_deploy_mends_it(machine: Machine, engine: DockerEngine) -> None:
    machine.ok("deploy", *PAIR)
    engine.docker("kill", "testbed-pair-b1")
    (row,) = machine.labs()
    assert (row["state"], row["faults"]) == ("broken", {"b1": "its container is exited"})
    machine.ok("deploy", *PAIR)
    assert machine.labs()[0]["state"] == "running"
    assert "1 received" in engine.docker("exec", "testbed-pair-a1", "ping", "-c1", "-W20", "b1")


def test_a_restarted_container_is_reported_refused_and_restored(machine: Machine, engine: DockerEngine) -> None:
    machine.ok("deploy", *PAIR)
    engine.docker("restart", "--time", "0", "testbed-pair-a1")
    said = "its container was restarted, and is not in the network of the lab any more"
    (row,) = machine.labs()
    assert (row["state"], row["faults"], row["health"]["a1"]["reason"]) == ("broken", {"a1": said}, said)
    late = machine.run("wait-for", "--name", "pair", "--timeout", "0s")
    assert (late.returncode, said in late.stdout) == (1, True)
    assert f"not as planned: a1: {said}\nlab pair would be restored" in machine.ok("deploy", *PAIR, "--dry-run")
    # A run restores it before: what it has measured is true of a lab as planned.
    run = machine.run_carried("run", "all_reduce", *PAIR, "--clock", "real", "-b", "64K", "--format", "json")
    assert json.loads(run.stdout)["verdict"]["correct"], run.stderr
    assert machine.labs()[0]["state"] == "running"
    assert "1 received" in engine.docker("exec", "testbed-pair-a1", "ping", "-c1", "-W20", "b1")
    engine.docker("restart", "--time", "0", "testbed-pair-leaf")
    assert "is as planned again" in machine.ok("deploy", *PAIR)
    assert "1 received" in engine.docker("exec", "testbed-pair-a1", "ping", "-c1", "-W20", "b1")


COMMANDS = {
    '["/bin/nosuch", "x"]': "its command '/bin/nosuch x' was not found",
    '["/etc"]': "its command '/etc' cannot be executed",
    '["true"]': "its command 'true' ended at once with status 0: it said nothing",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_image_whose_command_does_not_run_gives_one_answer(
    machine: Machine, engine: DockerEngine, tmp_path: Path, command: str
) -> None:
    made = engine.docker("create", "--network", "none", "testbed-host")
    engine.docker("commit", "--change", "ENTRYPOINT []", "--change", f"CMD {command}", made, "lame:1")
    engine.docker("rm", made)
    for _ in range(2):
        refused = machine.run("deploy", *write_lab(tmp_path / "lab.yaml", "a1", "b1", a1="lame:1"))
        said = f"testbed: container testbed-grows-a1 of image lame:1: {COMMANDS[command]}\n"
        assert (refused.returncode, refused.stdout, refused.stderr) == (3, "", said)
        assert engine.docker("ps", "--all", "--quiet") == ""
        assert machine.namespaces() == [] and machine.labs() == []


def test_what_cannot_be_built_leaves_nothing(machine: Machine, engine: DockerEngine, tmp_path: Path) -> None:
    engine.docker("create", "--name", "testbed-pair-leaf", "--network", "none", "testbed-switch")
    try:
        taken = machine.run("deploy", *PAIR)
        assert taken.returncode == 3
        assert "testbed-pair-leaf is taken by a container that is not of this lab" in taken.stderr
        assert names(engine) == []
        assert engine.docker("ps", "--all", "--format", "{{.Names}}") == "testbed-pair-leaf"
    finally:
        engine.docker("rm", "testbed-pair-leaf")
    lab = tmp_path / "no-image.yaml"
    lab.write_text(
        "name: no-image\n"
        "topology:\n"
        "  nodes:\n"
        "    a1: {kind: host, image: 'nobody:has'}\n"
        "    b1: {kind: host}\n"
        "  links: [{endpoints: ['a1:eth1', 'b1:eth1']}]\n"
    )
    missing = machine.run("deploy", "-t", str(lab), "--driver", "docker", "--dilation", "1")
    assert missing.returncode == 3
    assert "no image nobody:has on this machine" in missing.stderr
    assert machine.namespaces() == []


@contextmanager
def created(label: str) -> Iterator[Callable[[], str]]:
    """Give what waits for a container with this label to be created, and returns its name."""
    filters = ["--filter", "event=create", "--filter", f"label={label}", "--since", "0s"]
    command = ["docker", "events", *filters, "--format", "{{.Actor.Attributes.name}}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        reading = events.stdout
        try:
            yield lambda: reading.readline().strip()
        finally:
            events.kill()


@pytest.mark.parametrize("victim", ["cli", "agent"])
def test_a_kill_in_the_middle_of_a_deploy_is_cleared(machine: Machine, engine: DockerEngine, victim: str) -> None:
    with created("testbed.lab=pair") as name:
        process = machine.start("deploy", *PAIR)
        assert name().startswith("testbed-pair-")
    targets = [process.pid] if victim == "cli" else [agent.pid for agent in machine.agents()]
    for pid in targets:
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=100)
    machine.ok("destroy", "--all")
    assert engine.docker("ps", "--all", "--quiet") == ""
    assert machine.namespaces() == []


def test_an_engine_that_died_and_came_back_is_cleared(machine: Machine, engine: DockerEngine) -> None:
    machine.ok("deploy", *PAIR)
    engine.kill()
    blind = machine.run("destroy", "--name", "pair")
    assert blind.returncode == 3
    assert "does not answer" in blind.stderr
    engine.start()
    machine.ok("destroy", "--all")
    assert engine.docker("ps", "--all", "--quiet") == ""


def test_the_main_job_runs_over_a_broker_of_its_own(engine: DockerEngine, repo_root: Path, tmp_path: Path) -> None:
    """What `make run DRIVER=docker` does, on a smaller lab and with the engine of the tests."""
    inside = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh"]
    script = [str(repo_root / "tools" / "run-containers"), str(Path(sys.executable).parent)]
    options = ["all_reduce", *PAIR, "-b", "64K", "--format", "json", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PORT": "28883"}
    done = subprocess.run([*inside, *script, *options], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 4), done.stderr
    result = json.loads(done.stdout)
    assert result["verdict"]["lossless"] and result["verdict"]["correct"], result["verdict"]
    assert "mosquitto_sub -h localhost -p 28883" in done.stderr
    assert engine.docker("ps", "--all", "--quiet") == ""
    with socket.socket() as closed:
        assert closed.connect_ex(("127.0.0.1", 28883)) == errno.ECONNREFUSED


def write_lab(path: Path, *hosts: str, **images: str) -> tuple[str, ...]:
    """Write a lab down of these hosts at one switch, some with images of their own; return the options of `deploy`."""
    nodes = {host: {"kind": "host", **({"image": images[host]} if host in images else {})} for host in hosts}
    ends = [(f"{host}:eth1", f"leaf:eth{number}") for number, host in enumerate(hosts, start=1)]
    links = [{"endpoints": list(pair), "length": "10m"} for pair in ends]
    body = {"nodes": nodes | {"leaf": {"kind": "switch"}}, "links": links}
    path.write_text(json.dumps({"name": "grows", "topology": body}))
    return ("-t", str(path), "--driver", "docker", "--dilation", "2000")


def test_a_node_is_as_healthy_as_its_healthcheck_says(machine: Machine, engine: DockerEngine, tmp_path: Path) -> None:
    made = engine.docker("create", "--network", "none", "testbed-host")
    check = "HEALTHCHECK --interval=300ms --retries=1 CMD test ! -e /tmp/ill"
    engine.docker("commit", "--change", check, made, "checked:1")
    engine.docker("rm", made)
    machine.ok("deploy", *write_lab(tmp_path / "lab.yaml", "a1", "b1", a1="checked:1"))
    assert "healthy after" in machine.ok("wait-for", "--name", "grows", "--timeout", "60s")
    states = {node: health["state"] for node, health in machine.labs()[0]["health"].items()}
    assert states == dict.fromkeys(("a1", "b1", "leaf"), "healthy")
    machine.ok("exec", "--name", "grows", "a1", "--", "touch", "/tmp/ill")
    machine.ok("wait-for", "--name", "grows", "--node", "a1", "--state", "unhealthy", "--timeout", "60s")
    (row,) = machine.labs()
    assert row["health"]["a1"] == {"state": "unhealthy", "reason": "its HEALTHCHECK fails"}
    assert row["health"]["b1"]["state"] == "healthy"
    ill = machine.run("wait-for", "--name", "grows", "--timeout", "0s")
    assert (ill.returncode, "a1" in ill.stdout, "its HEALTHCHECK fails" in ill.stdout) == (1, True, True), ill.stdout


def test_containers_that_stay_live_through_changes_and_a_kill(
    machine: Machine, engine: DockerEngine, tmp_path: Path
) -> None:
    def identity() -> str:
        return engine.docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", "testbed-grows-a1")

    machine.ok("deploy", *write_lab(tmp_path / "lab.yaml", "a1", "b1"))
    before = identity()
    larger = write_lab(tmp_path / "larger.yaml", "a1", "b1", "c1")
    with created("testbed.node=c1") as name:
        process = machine.start("deploy", *larger)
        assert name() == "testbed-grows-c1"
        (agent,) = machine.agents()
        os.kill(agent.pid, signal.SIGKILL)
        process.communicate(timeout=100)
    machine.ok("deploy", *larger)
    assert names(engine, "grows") == [f"testbed-grows-{node}" for node in ("a1", "b1", "c1", "leaf")]
    assert "1 received" in machine.ok("exec", "--name", "grows", "a1", "--", "ping", "-c1", "-W20", "c1")
    machine.ok("deploy", *write_lab(tmp_path / "renamed.yaml", "a1", "z1", "c1"))
    assert names(engine, "grows") == [f"testbed-grows-{node}" for node in ("a1", "c1", "leaf", "z1")]
    assert "1 received" in machine.ok("exec", "--name", "grows", "a1", "--", "ping", "-c1", "-W20", "z1")
    assert identity() == before
