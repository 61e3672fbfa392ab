"""Files appear whole or not at all."""

import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from testbed.errors import HostError, UsageError
from testbed.files import write_whole


def test_a_file_replaces_the_older_one_and_has_the_mode_of_any_other(tmp_path: Path) -> None:
    target = tmp_path / "made" / "here" / "a.bin"
    for content in (b"older", b"newer"):
        assert write_whole(target, lambda file, content=content: file.write(content)) == target
        assert target.read_bytes() == content
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert [path.name for path in target.parent.iterdir()] == ["a.bin"]


def test_what_is_cut_off_leaves_the_older_file_and_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"older")

    def half(file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(target, half)
    assert target.read_bytes() == b"older" and list(tmp_path.iterdir()) == [target]


def test_a_reader_that_comes_while_it_is_written_sees_the_older_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"older")
    seen: list[bytes] = []

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        seen.append(target.read_bytes())

    write_whole(target, write)
    assert seen == [b"older"] and target.read_bytes() == b"new"


def test_errors_say_which_file_and_who_is_to_blame(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=r"cannot write .*file/a\.bin"):
        write_whole(tmp_path / "file" / "a.bin", lambda file: None)

    def full(file: BinaryIO) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(HostError, match=r"cannot write .*a\.bin: No space left on device"):
        write_whole(tmp_path / "a.bin", full)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
