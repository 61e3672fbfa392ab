"""Labs come and go without a trace, whatever interrupts them, and leave alone what is not theirs.

Each test runs in a child process with a mount namespace and a /run of its own (see `isolated`): it can destroy all labs
without touching those of the machine, and can compare everything before and after.
"""

import errno
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.drivers.netns import NetnsDriver
from testbed.errors import DriverError, HostError
from testbed.progress import BuildProgress
from testbed.system import namespaces, netlink, qdisc
from tests.live.netns_lab import inside, isolated, make_plan, snapshot

pytestmark = pytest.mark.usefixtures("require_root")

KILLS = 24


@isolated
def test_deploy_and_destroy_leave_the_machine_as_it_was() -> None:
    driver = NetnsDriver()
    before = snapshot()
    driver.deploy(make_plan("live", hosts=4, switches=2))
    during = snapshot()
    assert during["interfaces"] == before["interfaces"]
    assert during["home"] == before["home"]
    assert len(during["names"]) == 6
    assert driver.destroy("live") == ["h0", "h1", "h2", "h3", "s0", "s1"]
    assert snapshot() == before
    assert driver.destroy("live") == []
    subprocess.run(["ip", "netns", "add", "other"], check=True)
    before = snapshot()
    driver.deploy(make_plan("live"))
    listing = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout.split()
    assert {"other", "testbed-live-h0", "testbed-live-s0"} <= set(listing)
    driver.destroy("live")
    assert snapshot() == before


@isolated
def test_deploying_twice_changes_nothing() -> None:
    driver, plan = NetnsDriver(), make_plan("live", hosts=3, switches=2)

    def identities() -> list[tuple[int, int]]:
        return [(os.stat(entry).st_dev, os.stat(entry).st_ino) for entry in sorted(Path("/run/netns").iterdir())]

    first = driver.deploy(plan, dilation=1000)
    before = identities()
    assert driver.deploy(plan, dilation=500) == first
    assert identities() == before
    with inside("live", "h0", netlink.Netlink) as control:
        assert qdisc.read_shaped_rate(control, 101) == 200_000_000


@isolated
def test_a_lab_that_differs_is_refused_and_left_alone() -> None:
    driver = NetnsDriver()
    driver.deploy(make_plan("live", hosts=2, switches=2))
    others = {name: make_plan("live", hosts=2, switches=2) for name in ("wiring", "mtu", "address", "mac")}
    first, second = others["wiring"]["links"][:2]
    first["b"], second["b"] = second["b"], first["b"]
    others["mtu"]["links"][0]["mtu_bytes"] = 1500
    others["address"]["stations"][1]["ip"] = "198.19.0.77"
    others["mac"]["stations"][1]["mac"] = "02:00:01:00:00:77"
    others["fewer"], others["more"] = make_plan("live", hosts=1, switches=1), make_plan("live", hosts=3, switches=2)
    before = snapshot()
    for name, plan in others.items():
        with pytest.raises(DriverError, match="differs from its plan") as caught:
            driver.deploy(plan)
        assert (caught.value.errno, caught.value.exit_code) == (errno.EEXIST, 3), name
        assert snapshot() == before
    assert inside("live", "h0", lambda: socket.if_nameindex()[1:]) == [(101, "eth1")]


@isolated
def test_a_failed_deploy_leaves_nothing() -> None:
    driver, before = NetnsDriver(), snapshot()
    with pytest.raises(DriverError, match=r"create link h0:eth1 - s0:eth1.*EINVAL"):
        driver.deploy(make_plan("live", mtu_bytes=70_000))
    assert snapshot() == before
    taken = make_plan("live", hosts=3)
    taken["nodes"][3]["ports"][1]["name"] = "eth1"
    with pytest.raises(DriverError) as caught:
        driver.deploy(taken)
    assert caught.value.errno == errno.EEXIST
    assert snapshot() == before


@isolated
def test_many_nodes_fit_a_small_limit_of_open_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
    driver, before = NetnsDriver(), snapshot()
    assert len(driver.deploy(make_plan("live", hosts=40, switches=4))) == 86
    assert driver.list_labs()["live"] == sorted([*(f"h{n}" for n in range(40)), "s0", "s1", "s2", "s3"])
    driver.destroy("live")
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    with pytest.raises(DriverError) as caught:
        driver.deploy(make_plan("live", hosts=40))
    assert caught.value.errno == errno.EMFILE
    assert snapshot() == before


@isolated
def test_what_is_not_ours_is_never_touched() -> None:
    driver = NetnsDriver()
    subprocess.run(["ip", "netns", "add", "testbed-live-h0"], check=True)
    Path("/run/netns/testbed-live-s0").touch(mode=0)  # as `ip netns add` leaves it for a moment
    before = snapshot()
    with pytest.raises(DriverError, match="taken by something") as caught:
        driver.deploy(make_plan("live"))
    assert (caught.value.errno, caught.value.exit_code) == (errno.EEXIST, 3)
    assert driver.list_labs() == {}
    assert driver.destroy("live") == []
    assert driver.destroy_all() == {}
    assert snapshot() == before


@isolated
def test_labs_side_by_side_do_not_disturb_each_other() -> None:
    driver, before = NetnsDriver(), snapshot()
    longer = make_plan("one-h0", hosts=2, switches=2)
    for plan in (make_plan("one"), longer, make_plan("two")):
        driver.deploy(plan)
    driver.destroy("one")
    # Lab "one-h0" node "s0" and lab "one" node "h0-s0" ask for one name: the second is told so, the first stays.
    rival = make_plan("one")
    rival["nodes"][0]["name"] = "h0-s0"
    with pytest.raises(DriverError) as caught:
        driver.deploy(rival)
    assert caught.value.errno == errno.EEXIST
    assert driver.list_labs() == {"one-h0": ["h0", "h1", "s0", "s1"], "two": ["h0", "h1", "s0"]}
    assert driver.deploy(longer)
    assert driver.destroy_all() == {"one-h0": ["h0", "h1", "s0", "s1"], "two": ["h0", "h1", "s0"]}
    assert snapshot() == before


@isolated
def test_destroy_ends_the_processes_inside_and_no_others() -> None:
    driver, before = NetnsDriver(), snapshot()
    driver.deploy(make_plan("live"))
    stubborn_code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"

    def start() -> list[subprocess.Popen[bytes]]:
        polite = subprocess.Popen(["sleep", "1000"])
        stubborn = subprocess.Popen([sys.executable, "-c", stubborn_code], stdout=subprocess.PIPE)
        spared = subprocess.Popen(["sleep", "1000"])
        assert stubborn.stdout is not None
        assert stubborn.stdout.readline() == b"1\n"
        return [polite, stubborn, spared]

    polite, stubborn, spared = inside("live", "s0", start)
    outside = subprocess.Popen(["sleep", "1000"])
    try:
        driver.destroy("live", spare={spared.pid})
        assert polite.wait(5) == -signal.SIGTERM
        assert stubborn.wait(5) == -signal.SIGKILL
        assert spared.poll() is None
        assert outside.poll() is None
    finally:
        for process in (polite, stubborn, spared, outside):
            process.kill()
            process.wait()
    assert snapshot() == before


def run_and_kill(work: Callable[[], object], delay_ns: int) -> bool:
    """Fork a child that does `work`, kill it `delay_ns` later; return whether that found it at work."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"!")
        try:
            work()
        finally:
            os._exit(0)
    os.read(reading, 1)
    pidfd = os.pidfd_open(child)
    ended = select.select([pidfd], [], [], delay_ns / 1e9)[0]
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitpid(child, 0)
    for descriptor in (reading, writing, pidfd):
        os.close(descriptor)
    return not ended


def duration_ns(work: Callable[[], object]) -> int:
    start = time.monotonic_ns()
    work()
    return time.monotonic_ns() - start


@isolated
def test_a_kill_at_any_moment_leaves_nothing_that_destroy_cannot_find() -> None:
    driver, plan, draw = NetnsDriver(), make_plan("live", hosts=6, switches=3), random.Random(7)
    before = snapshot()
    deeds: tuple[Callable[[], object], ...] = (lambda: driver.deploy(plan), driver.destroy_all)
    # A kill that comes too late says what was too long; one that hits says that it may be longer.
    longest_ns = [duration_ns(deed) for deed in deeds]
    number = at_work = 0
    while at_work < KILLS:
        which = int(number % 3 == 2)
        if which:
            driver.deploy(plan)
        delay_ns = draw.randrange(longest_ns[which])
        if run_and_kill(deeds[which], delay_ns):
            at_work += 1
            longest_ns[which] += longest_ns[which] // 16
        else:
            longest_ns[which] = delay_ns
        if number % 2:
            driver.deploy(plan)  # a second try succeeds, whatever the first one left
            assert driver.list_labs() == {"live": [*(f"h{n}" for n in range(6)), "s0", "s1", "s2"]}
        driver.destroy_all()
        assert snapshot() == before, f"kill {number}"
        number += 1


@isolated
def test_a_kill_on_either_side_of_naming_a_namespace_is_recovered() -> None:
    driver, plan, mount = NetnsDriver(), make_plan("live"), namespaces.libc.mount

    def die_around(before_mount: bool) -> Callable[..., int]:
        def replacement(source: bytes, target: bytes, *rest: Any) -> int:
            if target.endswith(b"-h1"):
                if not before_mount:
                    mount(source, target, *rest)
                os.kill(os.getpid(), signal.SIGKILL)
            return int(mount(source, target, *rest))

        return replacement

    before = snapshot()
    for before_mount in (True, False):

        def work(early: bool = before_mount) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(namespaces.libc, "mount", die_around(early))
                driver.deploy(plan)

        assert run_and_kill(work, 60_000_000_000) is False  # it dies by itself, long before
        assert snapshot()["names"] == ["testbed-live-h0", "testbed-live-h1"]
        assert driver.list_labs() == {"live": ["h0"] if before_mount else ["h0", "h1"]}
        assert driver.destroy("live") == (["h0"] if before_mount else ["h0", "h1"])
        assert snapshot() == before


@isolated
def test_without_privileges_the_error_says_so() -> None:
    before = snapshot()
    os.setresuid(65534, 65534, 65534)
    with pytest.raises(DriverError, match="needs root") as caught:
        NetnsDriver().deploy(make_plan("live"))
    assert (caught.value.errno, caught.value.exit_code) == (errno.EPERM, 3)
    assert NetnsDriver().list_labs() == {}
    assert snapshot()["names"] == before["names"]


@isolated
def test_what_a_change_was_adding_when_it_was_killed_goes_and_the_rest_stays() -> None:
    driver, plan = NetnsDriver(), make_plan("live", hosts=2)
    driver.deploy(plan)
    before = Path("/run/netns/testbed-live-h0").stat().st_ino
    with namespaces.exclusive():
        made: list[namespaces.Namespace] = []
        namespaces.create_namespaces("live", ["h2"], made, BuildProgress())
        made[0].close()
    assert driver.reconcile(plan, None)
    assert Path("/run/netns/testbed-live-h0").stat().st_ino == before
    assert "h2" not in driver.list_labs()["live"]
    driver.destroy("live")


@isolated
def test_another_user_cannot_hold_up_labs_and_root_is_named() -> None:
    driver, plan = NetnsDriver(), make_plan("live")
    os.chmod("/run", 0o755)
    stranger = ["setpriv", "--reuid=65534", "--clear-groups", "flock", "-x", "/run", "sh", "-c", "echo held; read end"]
    with subprocess.Popen(stranger, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        driver.deploy(plan)
        assert driver.destroy("live") == ["h0", "h1", "s0"]
        process.kill()
    namespaces.LOCK_LIMIT_S = 0.1  # this process is the test's own
    mine = ["flock", "-x", str(namespaces.LOCK_FILE), "sh", "-c", "echo held; read end"]
    with subprocess.Popen(mine, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(HostError, match=rf"process {process.pid} \(flock -x"):
            driver.deploy(plan)
        process.kill()
