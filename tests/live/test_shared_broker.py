"""A real mosquitto with TLS and access control, an agent on it, and what happens when one of them, or a controller, dies."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.bus import client as bus
from testbed.bus import messages, mosquitto
from testbed.errors import DriverError, UsageError
from tests.live.machine import Machine, private_machine, wait_for
from tests.live.shared_broker import Broker, Listener

pytestmark = [pytest.mark.usefixtures("require_root"), pytest.mark.timeout(240)]

AGENT = "m1"
NOTICED_S = 3.0
PAIR = ("-t", "pair", "--dilation", "2000")


@pytest.fixture(scope="module")
def broker(require_root: None) -> Iterator[Broker]:
    # Started by root, mosquitto becomes a user of its own, who cannot look into the folders that pytest makes.
    directory = Path(tempfile.mkdtemp(prefix="tb-broker-"))
    port = 21883
    mosquitto.up(directory, mosquitto.Listener(port=port), [AGENT])
    yield Broker(directory, port)
    assert mosquitto.remove(directory)
    assert not directory.exists()


@pytest.fixture
def machine(repo_root: Path, tmp_path: Path) -> Iterator[Machine]:
    with private_machine(repo_root, tmp_path) as machine:
        yield machine


def start_agent(machine: Machine, broker: Broker) -> subprocess.Popen[str]:
    """Start an agent on the broker and wait until it is online."""
    listener = Listener(broker, "reader", messages.status_topic(AGENT))
    listener.heard.clear()
    process = machine.start(*broker.options(AGENT), "agent", "--name", AGENT)
    listener.wait_for(messages.status_topic(AGENT), messages.ONLINE)
    listener.close()
    return process


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(number)
    process.communicate(timeout=60)


def test_a_lab_lives_through_its_agent_and_its_controllers(machine: Machine, broker: Broker) -> None:
    controller = [*broker.options("controller"), "--agent", AGENT]
    agent = start_agent(machine, broker)
    try:
        assert "is up" in machine.ok(*controller, "deploy", *PAIR)
        listener = Listener(broker, "reader", messages.status_topic(AGENT))
        killed_at = time.monotonic()
        end(agent, signal.SIGKILL)
        assert listener.wait_for(messages.status_topic(AGENT), messages.OFFLINE) - killed_at < NOTICED_S
        listener.close()
        gone = machine.run(*controller, "inspect")
        assert (gone.returncode, "went away" in gone.stderr) == (3, True)
        # The next agent takes the lab over, and a controller that never deployed it may use it.
        agent = start_agent(machine, broker)
        assert "lab pair: running" in machine.ok(*controller, "inspect")
        run = machine.start(*controller, "run", "all_reduce", *PAIR, "--clock", "real", "-b", "4M", "-e", "4M")
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
        assert "lab pair: running" in machine.ok(*controller, "inspect")
        assert "gone" in machine.ok(*controller, "destroy", "--name", "pair")
        assert machine.namespaces() == []
    finally:
        end(agent)


def test_a_lab_lives_through_its_broker(machine: Machine, broker: Broker) -> None:
    controller = [*broker.options("controller"), "--agent", AGENT]
    agent = start_agent(machine, broker)
    try:
        machine.ok(*controller, "deploy", *PAIR)
        run = machine.start(*controller, "run", "all_reduce", *PAIR, "--clock", "real", "-b", "32M", "--out", "here")
        wait_for(lambda: any(lab.get("busy") for lab in machine.labs_of(*controller)))
        pid = mosquitto.running(broker.directory)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        _, errors = run.communicate(timeout=60)
        assert (run.returncode, "broker" in errors, "Traceback" in errors) == (3, True, False), errors
        assert machine.run(*controller, "inspect").returncode == 3
        mosquitto.up(broker.directory, mosquitto.Listener(port=broker.port), [AGENT])
        listener = Listener(broker, "reader", messages.status_topic(AGENT))
        listener.wait_for(messages.status_topic(AGENT), messages.ONLINE)
        listener.close()
        # The run went on to its end; the lab carries another.
        wait_for(lambda: not any(lab["busy"] for lab in machine.labs_of(*controller)))
        again = machine.run(*controller, "run", "all_reduce", *PAIR, "--clock", "real", "-b", "64K", "--format", "json")
        assert json.loads(again.stdout)["verdict"]["correct"], again.stderr
        machine.ok(*controller, "destroy", "--all")
    finally:
        end(agent)


def test_a_reader_listens_and_cannot_command(machine: Machine, broker: Broker) -> None:
    agent = start_agent(machine, broker)
    try:
        told = Listener(broker, "reader", messages.status_topic(AGENT), "testbed/+/+/command", "testbed/+/+/reply/+")
        # Mosquitto grants any subscription, and delivers by the access list.
        told.wait_for(messages.status_topic(AGENT), messages.ONLINE)
        for command in (("destroy", "--all"), ("inspect",)):
            began = time.monotonic()
            refused = machine.run(*broker.options("reader"), "--agent", AGENT, *command)
            assert refused.returncode == 3
            assert f"user reader may not command agent {AGENT} on this broker: not authorised" in refused.stderr
            assert time.monotonic() - began < bus.SILENCE_S
        machine.ok(*broker.options("controller"), "--agent", AGENT, "inspect")
        assert {topic for _, topic, _ in told.heard} == {messages.status_topic(AGENT)}
        told.close()
    finally:
        end(agent)


def test_strangers_are_refused(broker: Broker, machine: Machine) -> None:
    for user, password in (("controller", "guess"), (AGENT, "")):
        codes: list[int] = []
        done = threading.Event()
        client = broker.client(user, password or "x")
        client.on_connect = lambda *arguments, codes=codes, done=done: (codes.append(arguments[3].value), done.set())
        client.connect("localhost", broker.port)
        client.loop_start()
        assert done.wait(30)
        client.loop_stop()
        assert codes[0] != 0
    plain = machine.run("--broker", "mqtt://192.0.2.1", "inspect")
    assert (plain.returncode, "TLS" in plain.stderr) == (2, True)


def test_secrets_stay_in_files_of_their_owner(broker: Broker) -> None:
    for path in broker.directory.iterdir():
        mode = path.stat().st_mode & 0o777
        assert mode == (0o644 if path.name == "ca.pem" else 0o600), path
    secret = (broker.directory / "controller.credentials").read_text().strip().partition(":")[2]
    for name in ("passwords", "mosquitto.conf", "acl", "broker.log"):
        assert secret not in (broker.directory / name).read_text()
    process = mosquitto.running(broker.directory)
    assert process is not None
    assert secret.encode() not in Path(f"/proc/{process}/cmdline").read_bytes()


def test_no_agent_and_no_result_tells_a_secret(broker: Broker, machine: Machine) -> None:
    agent = start_agent(machine, broker)
    try:
        controller = [*broker.options("controller"), "--agent", AGENT]
        said = [machine.ok(*controller, "deploy", *PAIR)]
        title = Path(f"/proc/{agent.pid}/cmdline").read_bytes().decode()
        out = machine.directory / "result"
        run = machine.run_carried(
            *controller, "run", "all_reduce", *PAIR, "--clock", "real", "-b", "4K", "--out", str(out), "--force"
        )
        said += [title, run.stdout, run.stderr, machine.ok(*controller, "destroy", "--all")]
    finally:
        agent.send_signal(signal.SIGTERM)
        said_by_agent = agent.communicate(timeout=60)
    written = [path.read_bytes().decode(errors="replace") for path in out.rglob("*") if path.is_file()]
    assert written, run.stderr
    assert "agent" in title
    for path in broker.directory.glob("*.credentials"):
        secret = path.read_text().strip().partition(":")[2]
        assert not [text for text in (*said, *said_by_agent, *written) if secret in text]


def test_what_keeps_a_broker_from_starting_is_reported(broker: Broker, tmp_path: Path) -> None:
    other = Path(tempfile.mkdtemp(prefix="tb-broker-"))
    try:
        with pytest.raises(DriverError, match="Address already in use"):
            mosquitto.up(other, mosquitto.Listener(port=broker.port), [AGENT])
        assert mosquitto.running(other) is None
        with pytest.raises(UsageError, match="not a valid name for an agent"):
            mosquitto.up(other, mosquitto.Listener(port=broker.port), ["reader"])
    finally:
        assert not mosquitto.remove(other)
    with pytest.raises(DriverError, match="Unable to open"):
        mosquitto.up(tmp_path / "hidden", mosquitto.Listener(port=21884), [AGENT])


def test_a_reader_cannot_take_an_agents_place(machine: Machine, broker: Broker) -> None:
    agent = start_agent(machine, broker)
    try:
        told = Listener(broker, "reader", messages.status_topic(AGENT))
        told.wait_for(messages.status_topic(AGENT), messages.ONLINE)
        for guess in (f"agent-{AGENT}", AGENT):
            intruder = broker.client("reader", client_id=guess)
            intruder.connect("localhost", broker.port)
            intruder.loop_start()
            machine.ok(*broker.options("controller"), "--agent", AGENT, "inspect")
            intruder.disconnect()
            intruder.loop_stop()
        assert {payload for _, _, payload in told.heard} == {messages.ONLINE}
        # Who reads the broker's own log, which is its owner's, throws the agent out once; it comes back under another id.
        said = (broker.directory / "broker.log").read_text()
        known = [line for line in said.splitlines() if f"u'{AGENT}'" in line][-1].split(" as ")[1].split()[0]
        back = Listener(broker, "controller", messages.events_topic(messages.NO_LAB))
        intruder = broker.client("reader", client_id=known)
        intruder.connect("localhost", broker.port)
        intruder.loop_start()
        back.wait_for(messages.events_topic(messages.NO_LAB))
        machine.ok(*broker.options("controller"), "--agent", AGENT, "inspect")
        intruder.disconnect()
        intruder.loop_stop()
        back.close()
        told.close()
    finally:
        end(agent)


def test_the_guide_to_sharing_works_as_printed(machine: Machine, repo_root: Path) -> None:
    """Only the directory is another, and the port, since others may use those."""
    blocks = re.findall(r"```sh\n(.*?)```", (repo_root / "docs" / "guides" / "sharing.md").read_text(), re.DOTALL)
    up, directory, agent, deploy, follow = "".join(blocks).replace("\\\n", " ").splitlines()
    assert directory == "cd /var/lib/testbed/broker"
    place = Path(tempfile.mkdtemp(prefix="tb-broker-"))
    try:
        machine.ok("broker", "up", "--dir", str(place), "--port", "21885", *shlex.split(up)[3:])
        machine.directory, before = place, machine.directory

        def words(line: str) -> list[str]:
            return shlex.split(line.replace("8883", "21885").removesuffix(" &"))

        process = machine.start(*words(agent)[1:])
        assert process.stdout is not None
        assert process.stdout.readline() == "agent lab1 is ready on localhost:21885\n"
        try:
            assert machine.ok(*words(deploy)[1:]).startswith("lab two-dc is up")
            command = follow.replace("8883", "21885").replace("mosquitto_sub", "mosquitto_sub -C 1")
            heard = subprocess.run(["sh", "-c", command], cwd=place, capture_output=True, text=True, timeout=60)
            assert heard.stdout.startswith("testbed/"), heard.stderr
            machine.ok(*words(deploy)[1:-3], "destroy", "--all")
        finally:
            end(process)
            machine.directory = before
    finally:
        mosquitto.remove(place)
