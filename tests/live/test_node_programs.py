"""What a program sees inside a node, and that nothing of it stays behind.

Each test runs in a child process with a mount namespace and a /run of its own (see `isolated`).
"""

import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from testbed.drivers.netns import NetnsDriver
from testbed.errors import DriverError
from testbed.system import namespaces, node_spaces, private_pids
from testbed.system import processes as node_programs
from tests.live.machine import wait_for
from tests.live.netns_lab import isolated, make_plan, snapshot

pytestmark = pytest.mark.usefixtures("require_root")


def output(node: str, script: str, lab: str = "live") -> list[str]:
    """Return the lines that a shell script prints inside a node."""
    file = Path("/run/output")
    assert NetnsDriver().exec_in(lab, node, ["sh", "-ec", f"exec >{file}; {script}"]) == 0
    return file.read_text().splitlines()


@isolated
def test_the_hosts_of_the_lab_have_names() -> None:
    driver = NetnsDriver()
    driver.deploy(make_plan("live", hosts=3, switches=1))
    driver.deploy(make_plan("live-2", hosts=2, switches=0))
    system = Path("/etc/hosts").read_bytes()
    for node in ("h0", "s0"):
        addresses = output(node, "getent hosts h0 h1 h2; ! getent hosts s0")
        assert [line.split()[:2] for line in addresses] == [
            ["198.19.0.1", "h0"],
            ["198.19.0.2", "h1"],
            ["198.19.0.3", "h2"],
        ]
        lines = ["198.19.0.1\th0", "198.19.0.2\th1", "198.19.0.3\th2"]
        assert output(node, "cat /etc/hosts") == lines + system.decode().splitlines()
    assert Path("/etc/hosts").read_bytes() == system
    assert output("h0", "ping -q -c 2 -W 5 h1", lab="live-2")


@isolated
def test_a_node_shows_its_own_interfaces() -> None:
    NetnsDriver().deploy(make_plan("live", hosts=3, switches=1))
    before = sorted(os.listdir("/sys/class/net"))
    assert sorted(output("s0", "ls /sys/class/net")) == ["eth1", "eth2", "eth3", "lo"]
    assert output("h1", "cat /sys/class/net/eth1/address") == ["02:00:01:00:00:01"]
    assert sorted(os.listdir("/sys/class/net")) == before


@isolated
def test_a_node_has_a_name_ipc_and_shared_memory_of_its_own() -> None:
    driver = NetnsDriver()
    driver.deploy(make_plan("live"))
    own = (os.uname().nodename, sorted(os.listdir("/dev/shm")))
    # Two programs of one node share them, whether the user or the driver started them.
    output("h0", "echo kept >/dev/shm/word; ipcmk --queue")
    seen = driver.run_in("live", "h0", ["sh", "-c", "hostname; cat /dev/shm/word; ipcs -q | grep -c 0x"], 10)
    assert seen.stdout.split() == ["h0", "kept", "1"]
    assert output("h1", "hostname; ls /dev/shm; ipcs -q | grep -c 0x || true") == ["h1", "0"]
    assert output("s0", "hostname other; hostname") == ["other"]
    assert output("s0", "hostname") == ["other"] and output("h0", "hostname") == ["h0"]
    assert (os.uname().nodename, sorted(os.listdir("/dev/shm"))) == own
    driver.destroy("live")
    driver.deploy(make_plan("live"))
    assert output("h0", "ls /dev/shm; ipcs -q | grep -c 0x || true") == ["0"]


@isolated
def test_what_a_killed_testbed_left_of_a_node_goes_with_the_next_lab() -> None:
    driver, before = NetnsDriver(), snapshot()
    driver.deploy(make_plan("gone"))
    for node in ("h0", "h1", "s0"):  # killed in the middle of a removal
        path = namespaces.namespace_path("gone", node)
        subprocess.run(["umount", path], check=True)
        os.unlink(path)
    half = node_spaces.DIRECTORY / "testbed-gone-h0"
    subprocess.run(["umount", half / "uts"], check=True)
    subprocess.run(["umount", "--recursive", node_spaces.DIRECTORY / "testbed-gone-h1"], check=True)
    driver.deploy(make_plan("gone"))
    assert output("h0", "hostname", lab="gone") == ["h0"]
    driver.destroy("gone")
    assert snapshot() == before and not node_spaces.DIRECTORY.exists()


@isolated
def test_a_lab_without_spaces_of_its_own_says_what_to_do() -> None:
    driver = NetnsDriver()
    driver.deploy(make_plan("live"))
    subprocess.run(["umount", "--lazy", node_spaces.DIRECTORY], check=True)
    with pytest.raises(DriverError, match="redeploy"):
        driver.exec_in("live", "h0", ["true"])
    driver.destroy("live")


def own_places() -> None:
    """Give this process a /dev/shm and a directory for temporary files of its own: other tests write there, too."""
    subprocess.run(["mount", "-t", "tmpfs", "test", "/dev/shm"], check=True)
    tempfile.tempdir = os.environ["TMPDIR"] = "/run/temporary"
    os.mkdir(tempfile.tempdir)


def files_around() -> dict[str, set[str]]:
    """Return the files that a program of a node could have left where others see them."""
    names = {place: set(os.listdir(place)) for place in ("/run/temporary", "/dev/shm", "/etc")}
    return {**names, "/etc": {name for name in names["/etc"] if "host" in name}}


@isolated
def test_a_killed_program_leaves_nothing_and_one_that_lives_on_keeps_nothing() -> None:
    own_places()
    driver, before, files = NetnsDriver(), snapshot(), files_around()
    driver.deploy(make_plan("live"))
    with_lab = snapshot()
    path = namespaces.namespace_path("live", "h0")
    script = "grep -c h0 /etc/hosts; kill -STOP $$"
    programs = [node_programs.spawn_in(path, ["sh", "-c", script]) for _ in range(2)]
    for program in programs:
        assert os.WIFSTOPPED(os.waitpid(program.pid, os.WUNTRACED)[1])
    assert snapshot() == with_lab  # while they are there, nobody else sees what they see
    killed, spared = programs
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    driver.destroy("live", spare={spared.pid})
    assert snapshot() == before
    mounts = Path(f"/proc/{spared.pid}/mountinfo").read_text()
    assert "testbed-live" not in mounts, "the mounts of a program must not keep namespaces alive"
    spared.kill()
    spared.wait()
    assert files_around() == files


@isolated
def test_a_program_may_die_with_the_testbed_at_any_moment() -> None:
    NetnsDriver().deploy(make_plan("live"))
    before = snapshot()
    child = os.fork()
    if child == 0:
        NetnsDriver().exec_in("live", "h0", ["sh", "-c", 'kill -KILL "$PPID"; kill -KILL $$'])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert snapshot() == before
    subprocess.run(["test", "!", "-e", "/sys/hosts"], check=True)
    NetnsDriver().destroy("live")


@isolated
def test_a_node_that_asks_for_it_has_processes_of_its_own() -> None:
    driver, before = NetnsDriver(), snapshot()
    plan = make_plan("live")
    plan["nodes"][0]["private_pids"] = True
    driver.deploy(plan)
    seen = output("h0", 'exec sh -c \'ls -d /proc/[0-9]*; echo $$; cat /proc/1/cmdline | tr "\\0" " "; hostname\'')
    assert seen[-1].endswith("h0") and "testbed-node" in seen[-1]
    assert f"/proc/{seen[-2]}" in seen and len(seen) <= 6, "its first process, what that waits for, and its own"
    assert len(output("h1", "ls -d /proc/[0-9]*")) > len(seen), "the other sees those of the machine"
    # Programs of one node see each other, and what is left of them is taken in.
    output("h0", "sleep 1000 & echo")
    assert "sleep 1000" in driver.run_in("live", "h0", ["ps", "-e", "-o", "args="], 20).stdout
    output("h0", "(sleep 0.01 &)")
    wait_for(lambda: "sleep 0.01" not in driver.run_in("live", "h0", ["ps", "-e", "-o", "args="], 20).stdout)
    assert "defunct" not in driver.run_in("live", "h0", ["ps", "-e"], 20).stdout
    assert driver.faults("live") == {}
    driver.deploy(plan)  # as planned
    first = int((node_spaces.folder_of(namespaces.namespace_path("live", "h0")) / "first").read_text())
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: driver.faults("live") == {"h0": private_pids.GONE})
    with pytest.raises(DriverError, match="the first of its processes has ended"):
        driver.exec_in("live", "h0", ["true"])
    driver.reconcile(plan, plan)
    assert driver.faults("live") == {} and output("h0", "hostname") == ["h0"]
    shared = make_plan("live")
    driver.reconcile(shared, plan)
    assert len(output("h0", "ls -d /proc/[0-9]*")) > len(seen)
    driver.destroy("live")
    assert snapshot() == before and not node_spaces.DIRECTORY.exists()
