"""Locks: a file of their owner, a limit of time, and the name of the holder."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.errors import DriverError, HostError
from testbed.system.locks import locked


@contextmanager
def held(*command: str) -> Iterator[int]:
    """Have another process hold a lock until the block ends; yield its id once it does."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"held\n"
            yield process.pid
        finally:
            process.kill()


def test_a_lock_that_another_program_holds_names_it_in_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, 0):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with (
        held("flock", "-x", str(path), "sh", "-c", "echo held; read end") as process,
        pytest.raises(HostError, match=rf"after 0.1 s by process {process} \(flock -x {path}"),
        locked(path, 0.1),
    ):
        pass


def test_a_lock_that_was_inherited_names_the_child_that_still_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, 0) as descriptor:
        command = ["sh", "-c", "echo held; read end"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(descriptor,))
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
    with child:
        # This process took the lock and has let go of it: the child alone is named.
        with pytest.raises(HostError, match=rf"by process {child.pid} \([^,]*$"), locked(path, 0):
            pass
        child.kill()
    with locked(path, 0):
        pass


@pytest.mark.parametrize("mode", [0o644, 0o660])
def test_a_lock_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "lock"
    path.touch()
    path.chmod(mode)
    with pytest.raises(HostError, match="mode 0600"), locked(path, 0):
        pass


def test_a_lock_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DriverError, match="ELOOP"), locked(tmp_path / "lock", 0):
        pass
    assert not os.path.lexists(tmp_path / "elsewhere")


def test_a_lock_of_a_removed_directory_is_made_anew(tmp_path: Path) -> None:
    with locked(tmp_path / "state" / "lock", 0):
        (tmp_path / "state" / "lock").unlink()
        (tmp_path / "state").rmdir()
        with locked(tmp_path / "state" / "lock", 0):
            pass
