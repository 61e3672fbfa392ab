"""A directory for results belongs to one command, however many begin at once."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testbed.commands.common import open_new
from testbed.commands.results import result_directory
from testbed.errors import HostError, UsageError

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
RUN = ("run", "all_reduce", "-t", "pair", "-b", "4K")


def test_many_at_once_have_a_directory_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rounds, at_once = 3, 6
    barrier = threading.Barrier(rounds * at_once)

    def run(number: int) -> None:
        barrier.wait()
        with result_directory(None, "pair-all_reduce") as directory:
            (directory / "run.json").write_text(str(number))

    with ThreadPoolExecutor(rounds * at_once) as threads:
        list(threads.map(run, range(rounds * at_once)))
    results = [path.read_text() for path in tmp_path.glob("results/*/run.json")]
    assert sorted(map(int, results)) == list(range(rounds * at_once))


def test_a_directory_that_another_command_writes_into_is_refused(call_testbed: Cli, tmp_path: Path) -> None:
    with result_directory(tmp_path / "here", "") as directory:
        done = call_testbed(*RUN, "--out", "here")
        assert (done.returncode, done.stdout) == (2, "")
        assert "here: another command is writing its result there" in done.stderr
        (directory / "note").touch()
    assert call_testbed(*RUN, "--out", "here").returncode == 0
    assert json.loads((tmp_path / "here" / "run.json").read_text())["verdict"]["correct"]


def test_nothing_is_left_of_a_command_that_wrote_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for chosen in (None, Path("deep/down"), Path("mine")):
        with result_directory(chosen, "pair"):
            pass
    assert sorted(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_a_place_that_cannot_be_written_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((UsageError, HostError), match="cannot write"), result_directory(tmp_path / "file" / "x", ""):
        pass


def test_a_capture_takes_no_file_that_came_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        open_new(path, force=False)
    open_new(path, force=True).close()
    assert path.read_bytes() == b""
