"""The command line as scripts see it.

Exit codes, one JSON document on standard output, everything else on standard error.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed import pcapng

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def document(completed: subprocess.CompletedProcess[str]) -> Any:
    """Read standard output as exactly one JSON document."""
    return json.loads(completed.stdout)


@pytest.fixture
def testbed(run_testbed: Cli, tmp_path: Path) -> Cli:
    """Run testbed in a directory of its own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_testbed(*arguments, cwd=tmp_path)

    return run


VIRTUAL = ("--clock", "virtual", "--format", "json")


def test_a_run_prints_the_document_that_it_writes(testbed: Cli, tmp_path: Path) -> None:
    done = testbed("run", "all_reduce", "-t", "pair", *VIRTUAL, "-b", "64K", "-e", "256K", "-f", "4", "--seed", "9")
    assert done.returncode == 0, done.stderr
    printed = document(done)
    assert [row["size_bytes"] for row in printed["collective"]["rows"]] == [65_536, 262_144]
    assert all(row["wrong"] == 0 for row in printed["collective"]["rows"])
    assert (printed["seed"], printed["clock"]) == (9, "virtual")
    written = list(tmp_path.glob("results/*/run.json"))
    assert len(written) == 1
    assert json.loads(written[0].read_text()) == printed
    assert str(written[0].relative_to(tmp_path)) in done.stderr


def test_the_replay_command_gives_the_same_hash(testbed: Cli, tmp_path: Path) -> None:
    first = document(testbed("run", "all_reduce", "-t", "pair", *VIRTUAL, "-b", "1M", "--out", str(tmp_path / "one")))
    again = document(testbed(*shlex.split(first["replay"])[1:]))
    assert first["event_log_hash"] and again["event_log_hash"] == first["event_log_hash"]
    assert (tmp_path / "one" / "run.json").is_file()


def test_cores_change_nothing_but_the_time_that_a_run_takes(testbed: Cli, tmp_path: Path) -> None:
    reports = []
    for cores in ("1", "2", "auto"):
        done = testbed("run", "all_reduce", "-t", "two-dc:length=40km", *VIRTUAL, "-b", "256K", "--cores", cores)
        assert done.returncode == 0, done.stderr
        reports.append({key: value for key, value in document(done).items() if key not in ("replay", "provenance")})
    assert reports[0] == reports[1] == reports[2]
    for cores in ("0", "two", "100000"):
        done = testbed("run", "all_reduce", "-t", "pair", *VIRTUAL, "--cores", cores)
        assert done.returncode == 2 and f"--cores {cores}: a whole number from 1 to 1024, or auto" in done.stderr


def test_a_lossy_fabric_fails_with_1(testbed: Cli) -> None:
    done = testbed("run", "incast", "-t", "incast", *VIRTUAL, "--set", "lossless.pfc=false")
    assert done.returncode == 1
    verdict = document(done)["verdict"]
    assert (verdict["lossless"], verdict["passed"]) == (False, False)


def test_expectations_decide_the_exit_code(testbed: Cli, tmp_path: Path) -> None:
    text = "topology: pair\nclock: virtual\nworkload: {{collective: all_reduce, size: 64KiB}}\nexpect: ['{}']\n"
    for expectation, code in (("drops.lossless == 0", 0), ("busbw > ideal", 1)):
        (tmp_path / "e.yaml").write_text(text.format(expectation))
        done = testbed("run", "e.yaml", "--format", "json")
        assert done.returncode == code, done.stderr
        assert document(done)["verdict"]["passed"] == (code == 0)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("run", "all_reduce"), "-t two-dc"),
        (("run", "nonsense", "-t", "pair"), "nonsense"),
        (("run", "all_reduce", "-t", "nowhere"), "nowhere"),
        (("run", "all_reduce", "-t", "pair", "--set", "lossless.pcf=1"), "pfc"),
        (("run", "all_reduce", "-t", "pair", "--clock", "sidereal"), "sidereal"),
        (("run", "all_reduce", "-t", "pair", "--clock", "virtual", "--keep"), "--keep"),
        (("run", "all_reduce", "-t", "pair", "-b", "2M", "-e", "1M"), "minbytes"),
        (("run", "missing.yaml"), "missing.yaml"),
        (("destroy",), "--name"),
        (("destroy", "--all", "--name", "x"), "--all"),
        (("destroy", "--name", "../x"), "name"),
        (("exec", "--name", "a/b", "n", "--", "true"), "name"),
        (("capture", "--name", "x", "no-port", "-w", "-"), "endpoint"),
        (("capture", "--name", "x", "a1:eth1", "a[:eth1", "-w", "-"), "a[:eth1"),
        (("capture", "--name", "x", "a1:eth1", "-w", "-", "--filter", "data and paws"), "--filter, character 10"),
        (("capture", "--name", "x", "a1:eth1", "-w", "-", "--ring-size", "1MB"), "a ring of files needs a name"),
        (("capture", "--name", "x", "a1:eth1", "-w", "x", "--ring-files", "3"), "--ring-files needs --ring-size"),
        (("capture", "--name", "x", "a1:eth1", "-w", "x", "--ring-size", "big"), "--ring-size"),
        (("agent",), "--broker"),
        (("agent", "--broker", "mqtt://broker.example"), "TLS"),
        (("agent", "--broker", "mqtts://u:hunter2@broker.example"), "credentials"),
        (("--broker", "mqtt://broker.example", "inspect"), "TLS"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_bad_usage_ends_with_2_and_says_what(testbed: Cli, arguments: tuple[str, ...], word: str) -> None:
    done = testbed(*arguments)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_validate_names_every_fault_by_line(testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(
        "name: x\ntopology:\n  nodes:\n    a: {kind: host, colour: red}\n    b: {kind: toaster}\n  links: []\n"
    )
    done = testbed("validate", "lab.yaml", "two-dc", "--format", "json")
    assert done.returncode == 2
    assert "lab.yaml:4" in done.stderr and "lab.yaml:5" in done.stderr
    answer = document(done)
    faults = [file["faults"] for file in answer["files"]]
    assert (answer["valid"], faults[1]) == (False, [])
    assert {fault.split(":")[1] for fault in faults[0]} >= {"4", "5"}
    assert testbed("validate", "two-dc", "pair").returncode == 0


def test_without_the_data_plane_doctor_says_what_to_do(repo_root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['testbed._dataplane'] = None; "
        "from testbed.start import main; sys.argv[0] = 'testbed'; sys.exit(main())"
    )
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}
    command = [sys.executable, "-c", code, "doctor", "--format", "json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 3, done.stderr
    checks = {check["name"]: check for check in document(done)["checks"]}
    assert not checks["data plane"]["ok"] and "make setup" in checks["data plane"]["detail"]


def test_schema_is_a_json_schema(testbed: Cli) -> None:
    for subject, key in (("lab", "topology"), ("experiment", "workload")):
        assert key in document(testbed("schema", subject))["properties"]


def test_a_pcap_has_the_frames_of_the_run(testbed: Cli, tmp_path: Path) -> None:
    done = testbed("run", "all_reduce", "-t", "pair", *VIRTUAL, "-b", "64K", "--pcap", "--out", "here")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "result: here/run.json, capture: here/capture.pcapng"
    frames = list(pcapng.frames((tmp_path / "here" / "capture.pcapng").read_bytes()))
    assert {frame.interface for frame in frames} == {"a1:eth1", "b1:eth1", "leaf:eth1", "leaf:eth2"}
    assert {frame.way for frame in frames} == {pcapng.OUTBOUND}
    assert [frame.time_ns for frame in frames] == sorted(frame.time_ns for frame in frames)


def test_a_result_that_cannot_be_written_is_bad_usage(testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for extra in ((), ("--pcap",)):
        done = testbed("run", "all_reduce", "-t", "pair", "--clock", "virtual", "-b", "64K", "--out", "file", *extra)
        assert done.returncode == 2
        assert "file" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("named", [None, "virtual"])
def test_the_clock_is_virtual_unless_asked_otherwise_and_one_line_says_so(
    call_testbed: Cli, tmp_path: Path, named: str | None
) -> None:
    """Whoever runs it: root can make namespaces, and is not given them unasked."""
    said = f"clock: {named}\n" if named else ""
    (tmp_path / "e.yaml").write_text(f"topology: pair\n{said}workload: {{collective: all_reduce, size: 4KiB}}\n")
    done = call_testbed("run", "e.yaml", "--format", "json")
    assert (done.returncode, document(done)["clock"]) == (0, "virtual")
    why = "the experiment says so" if named else "the default; --clock real or auto runs in network namespaces"
    assert done.stderr.splitlines()[0] == f"virtual clock: {why}"


def test_agents_take_no_part_in_a_run_under_the_virtual_clock(call_testbed: Cli) -> None:
    done = call_testbed("--broker", "mqtt://127.0.0.1:1", "run", "all_reduce", "-t", "pair")
    assert done.returncode == 2 and "--clock real" in done.stderr


def test_without_privileges_the_clock_is_virtual_and_one_line_says_why(repo_root: Path, tmp_path: Path) -> None:
    """As root, the capabilities are given up first; without root, there are none."""
    done = _unprivileged(
        repo_root, tmp_path, "run", "all_reduce", "-t", "pair", "--clock", "auto", "-b", "64K", "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["clock"] == "virtual"
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and lines[0].startswith("virtual clock: this machine cannot run the real one, root: "), lines


@pytest.mark.parametrize(
    "arguments", [("deploy", "-t", "pair"), ("run", "all_reduce", "-t", "pair", "--clock", "real")]
)
def test_without_privileges_the_real_clock_ends_with_3(
    repo_root: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = _unprivileged(repo_root, tmp_path, *arguments, "--dilation", "1000")
    assert done.returncode == 3, done.stderr
    assert "root" in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def _unprivileged(root: Path, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run testbed without effective capabilities, with the state directory where it cannot matter."""
    drop = (
        "import ctypes, os, struct, sys; "
        # capset: version 3, this process; effective and permitted are cleared
        "libc = ctypes.CDLL(None); "
        "libc.capset(struct.pack('Ii', 0x20080522, 0), bytes(24)); "
        "from testbed.start import main; sys.argv[0] = 'testbed'; sys.exit(main())"
    )
    environment = {**os.environ, "PYTHONPATH": str(root), "TESTBED_STATE_DIR": str(directory / "state")}
    return subprocess.run(
        [sys.executable, "-c", drop, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_it_has_and_ends_with_130(
    repo_root: Path, tmp_path: Path, number: signal.Signals
) -> None:
    code = "import sys; from testbed.start import main; sys.argv[0] = 'testbed'; sys.exit(main())"
    arguments = ["run", "all_reduce", "-t", "two-dc", *VIRTUAL, "-b", "64K", "-e", "4M", "-n", "1000", "--pcap"]
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}
    # Where the tests themselves run in the background, a shell has it ignored.
    heeding = ["env", "--default-signal=INT"]
    with subprocess.Popen(
        [*heeding, sys.executable, "-c", code, *arguments, "--out", "here"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        capture = tmp_path / "here" / "capture.pcapng"
        # Its head alone is written before the run has begun.
        while not (capture.exists() and capture.stat().st_size > 2**16) and process.poll() is None:
            time.sleep(0.01)
        try:
            process.send_signal(number)
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # its capture would fill the disk
    assert process.returncode == 130, errors
    assert json.loads(out)["verdict"]["complete"] is False
    assert "Traceback" not in errors


def test_profiles_lists_the_catalogue_and_shows_one_with_its_sources(testbed: Cli) -> None:
    listed = document(testbed("profiles", "--format", "json"))["profiles"]
    names = [row["name"] for row in listed]
    assert {"400g-dr4", "microled-800g", "400g-zr", "ocs"} <= set(names)
    table = testbed("profiles")
    assert table.returncode == 0 and all(f"{name} " in table.stdout for name in names)
    (one,) = document(testbed("profiles", "400g-zr", "--format", "json"))["profiles"]
    assert (one["rate_bps"], one["reach_m"], one["power_w_per_end"]) == (400 * 10**9, 120_000, 15)
    assert one["figures"]["reach"] == {"value": "120km", "source": "OIF-400ZR-02.0 implementation agreement"}
    shown = testbed("profiles", "400g-zr").stdout
    for words in (
        ("reach", "120km", "OIF-400ZR"),
        ("power-w", "15.0 W"),
        ("baud", "59.84375GBd"),
        ("4.897 ns a metre",),
    ):
        assert any(all(word in line for word in words) for line in shown.splitlines()), words


def test_a_profile_that_does_not_exist_is_met_with_the_nearest(testbed: Cli) -> None:
    done = testbed("profiles", "400zr")
    assert (done.returncode, done.stdout) == (2, "")
    assert 'no profile is called "400zr"; did you mean "400g-zr"?' in done.stderr


def test_a_lab_beyond_its_optics_is_refused_at_its_line(testbed: Cli, tmp_path: Path) -> None:
    nodes = "nodes: {a1: {kind: host}, b1: {kind: host}}"
    link = '{endpoints: ["a1:eth1", "b1:eth1"], profile: 400g-zr,\n       length: 121km}'
    (tmp_path / "lab.yaml").write_text(f"name: far\ntopology:\n  {nodes}\n  links:\n    - {link}\n")
    done = testbed("run", "all_reduce", "-t", "lab.yaml", *VIRTUAL)
    assert (done.returncode, done.stdout) == (2, "")
    assert "lab.yaml:6: topology.links[0].length: 121km is beyond the reach of 400g-zr, 120km" in done.stderr
