"""Points: files named by their inputs, of which only whole ones of the right name count."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.study import points
from testbed.study.points import Points, key_of

RECORD = {"host": "here", "process": 1}
CONTENT = {"figure": 1.5, "text": "µ"}


def written(directory: Path, key: str) -> Path:
    return Points(directory).write(key, CONTENT, RECORD)


def test_a_point_is_read_as_it_was_written(tmp_path: Path) -> None:
    key = key_of("run", {"seed": 1})
    path = written(tmp_path / "made", key)
    assert path.name == f"{key}.json.gz" and len(key) == 64
    kept = Points(tmp_path / "made").read(key)
    assert kept is not None and (kept.content, kept.settled, kept.computed) == (CONTENT, True, (RECORD,))
    assert path.read_bytes() == written(tmp_path / "other", key).read_bytes()


def test_the_key_is_of_the_inputs_and_the_code_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [key_of("run", {"a": 1, "b": [2]}), key_of("run", {"b": [2], "a": 1})]
    assert keys[0] == keys[1]
    others = {key_of("run", {"a": 1, "b": [3]}), key_of("case", {"a": 1, "b": [2]})}
    monkeypatch.setattr(points, "code_version", lambda: "newer")
    assert len({keys[0], key_of("run", {"a": 1, "b": [2]}), *others}) == 4


def test_the_version_of_the_code_changes_with_any_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version() -> str:
        points.code_version.cache_clear()
        return points.code_version()

    monkeypatch.setattr(points, "ROOT", tmp_path)
    (tmp_path / "linked").mkdir()
    (tmp_path / "__init__.py").write_text("a = 1\n")
    seen = [version()]
    (tmp_path / "linked" / "b.py").write_text("b = 1\n")
    seen.append(version())
    (tmp_path / "linked" / "b.py").write_text("b = 2\n")
    seen.append(version())
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "b.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert len({*seen}) == 3 and version() == seen[-1]
    points.code_version.cache_clear()


def cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def flipped(raw: bytes) -> bytes:
    return raw[:-12] + bytes([raw[-12] ^ 1]) + raw[-11:]


def altered(raw: bytes) -> bytes:
    return gzip.compress(gzip.decompress(raw).replace(b"1.5", b"1.6"))


def of_another_schema(raw: bytes) -> bytes:
    return gzip.compress(gzip.decompress(raw).replace(b'"schema":1', b'"schema":2', 1))


def of_another_head(raw: bytes) -> bytes:
    return gzip.compress(b'["schema"]\n' + gzip.decompress(raw).partition(b"\n")[2])


@pytest.mark.parametrize(
    "harm", [cut, flipped, altered, of_another_schema, of_another_head, lambda _: b"", lambda _: b"{}\n{}"]
)
def test_a_file_that_was_harmed_is_no_point_and_is_replaced(harm: Callable[[bytes], bytes], tmp_path: Path) -> None:
    key = key_of("run", {})
    path = written(tmp_path, key)
    path.write_bytes(harm(path.read_bytes()))
    assert Points(tmp_path).read(key) is None
    written(tmp_path, key)
    kept = Points(tmp_path).read(key)
    assert kept is not None and kept.content == CONTENT and kept.computed == (RECORD,)


def test_a_file_of_another_point_is_foreign_under_this_name(tmp_path: Path) -> None:
    first, second = key_of("run", {"seed": 1}), key_of("run", {"seed": 2})
    written(tmp_path, first).rename(Points(tmp_path).path(second))
    assert Points(tmp_path).read(first) is None and Points(tmp_path).read(second) is None


def test_what_is_computed_again_leaves_a_record_of_each_time(tmp_path: Path) -> None:
    key = key_of("run", {})
    path = written(tmp_path, key)
    Points(tmp_path).write(key, CONTENT, {"host": "there"}, settled=False)
    head = json.loads(gzip.decompress(path.read_bytes()).partition(b"\n")[0])
    assert head["computed"] == [RECORD, {"host": "there"}] and head["settled"] is False


def test_points_are_kept_in_the_cache_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert points.default_directory() == tmp_path / "testbed" / "points"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert points.default_directory() == tmp_path / ".cache" / "testbed" / "points"
