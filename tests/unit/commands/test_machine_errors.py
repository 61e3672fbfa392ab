"""What the machine lacks is said in one line, exit code 3, and before a run where it can be; a finished run is always told."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import pcapng
from testbed.agent import captures
from testbed.errors import HostError
from testbed.run import perform, result
from testbed.run.execution import Outcome
from testbed.system.capture_files import Blocks
from tests.conftest import ROOT

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = ("-t", "pair", "--clock", "virtual", "-b", "4K")
COMMAND = [
    sys.executable,
    "-c",
    "import sys; from testbed.start import main; sys.argv[0] = 'testbed'; sys.exit(main())",
]


def on_a_small_disk(kib: int, script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of sh in a directory where `disk` is a file system of so many KiB; `$T` is the testbed."""
    (directory / "disk").mkdir()
    (directory / "testbed").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{COMMAND[2]}" "$@"\n')
    (directory / "testbed").chmod(0o755)
    mount = f"mount -t tmpfs -o size={kib}k,mode=755 none disk && {script}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "T": str(directory / "testbed"), "TMPDIR": str(directory)}
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_a_capture_onto_a_full_disk_ends_with_a_whole_frame_and_the_result_is_printed(
    require_root: None, tmp_path: Path
) -> None:
    run = f"$T run all_reduce {' '.join(SMALL)} -e 256K -f 64 --pcap --out disk/here --format json; code=$?"
    done = on_a_small_disk(400, f"{run}; cp disk/here/capture.pcapng .; exit $code", tmp_path)
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document["verdict"]["complete"] and document["collective"]["rows"][-1]["wrong"] == 0
    assert "No space left on device" in done.stderr and "internal error" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if "No space" in line]) == 1
    content = (tmp_path / "capture.pcapng").read_bytes()
    assert sum(1 for _ in pcapng.frames(content)) > 50, "whole blocks alone"


@pytest.mark.parametrize("extra", ["", "--pcap"])
def test_a_full_directory_is_found_before_the_run(require_root: None, tmp_path: Path, extra: str) -> None:
    run = f"dd if=/dev/zero of=disk/fill 2>/dev/null; cd disk; $T run all_reduce {' '.join(SMALL)} {extra}"
    done = on_a_small_disk(64, run, tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1].startswith("testbed: cannot write results")
    assert done.stderr.splitlines()[-1].endswith("No space left on device")


def test_a_read_only_directory_is_found_before_the_run(require_root: None, tmp_path: Path) -> None:
    sweep = "$T sweep incast -t pair --set workload.size=4K --over seed=1,2 -j 1"
    run = f"mount -o remount,ro none disk; cd disk; $T run all_reduce {' '.join(SMALL)}; echo $?; {sweep}"
    done = on_a_small_disk(64, run, tmp_path)
    assert (done.returncode, done.stdout) == (3, "3\n")
    said = [line for line in done.stderr.splitlines() if line.startswith("testbed:")]
    assert said == ["testbed: cannot write results: Read-only file system"] * 2


@pytest.mark.parametrize("format_", ["json", "table"])
def test_a_result_that_cannot_be_written_is_printed(
    call_testbed: Cli, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    def write(*_: object) -> Path:
        raise HostError("cannot write here/run.json: No space left on device")

    monkeypatch.setattr(result, "write_text", write)
    done = call_testbed("run", "all_reduce", *SMALL, "--out", "here", "--format", format_)
    assert done.returncode == 3
    assert "busbw" in done.stdout
    assert format_ == "table" or json.loads(done.stdout)["verdict"]["passed"]
    assert done.stderr.splitlines()[-1] == "testbed: cannot write here/run.json: No space left on device"


def test_the_rows_of_a_sweep_are_printed_too(call_testbed: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> Path:
        raise HostError("cannot write here: Input/output error")

    monkeypatch.setattr(result, "write_text", write)
    sweep = ("sweep", "incast", "-t", "pair", "--set", "workload.size=4K", "--over", "seed=1,2", "-j", "1")
    done = call_testbed(*sweep, "--out", "here", "--format", "json")
    assert (done.returncode, len(json.loads(done.stdout)["rows"])) == (3, 2)
    assert "internal error" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("profiles",), ("headroom", "--rate", "1G", "--length", "1m", "--format", "json")]
)
def test_a_device_that_takes_no_output_is_an_error_in_one_line(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=100
        )
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1 and "No space left on device" in done.stderr


def test_a_report_is_printed_where_the_locale_lacks_its_signs(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    deadlock = [*COMMAND, "run", "deadlock-ring"]
    printed = {}
    for format_ in ("table", "json"):
        command = [*deadlock, "--out", str(tmp_path / format_), "--format", format_]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=100)
        assert done.returncode == 1, done.stderr
        printed[format_] = done
    assert b"switch1:eth2 -> switch2:eth3" in printed["table"].stdout
    reasons = json.loads(printed["json"].stdout.decode("ascii"))["verdict"]["reasons"]
    assert any("switch1:eth2 → switch2:eth3" in reason for reason in reasons)


def test_blocks_that_do_not_fit_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    Blocks(descriptor).write([b"first"])
    written = iter([3, 5])

    def write(to: int, data: memoryview) -> int:
        # The disk has room for the second block and half of the third.
        count = next(written, None)
        if count is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(to, data[:count])

    real = os.write
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        Blocks(descriptor).write([b"second", b"third"])
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"firstsecond"


def test_no_part_of_a_capture_is_left_where_it_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = captures.Captures(tmp_path).make("lab")
    made.write_bytes(b"frames")

    def move(source: Path, target: Path) -> None:
        target.write_bytes(b"fra")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(captures.shutil, "move", move)
    with pytest.raises(HostError, match=f"No space left on device; the capture is {made}"):
        captures.fetch(tmp_path, made.name, tmp_path / "mine.pcapng")
    assert not (tmp_path / "mine.pcapng").exists() and made.read_bytes() == b"frames"


def test_an_outcome_says_what_became_of_its_capture() -> None:
    sent = perform.outcome_data(Outcome(capture_fault="cannot write x: No space left on device"))
    assert perform.outcome_from(sent).capture_fault == "cannot write x: No space left on device"
