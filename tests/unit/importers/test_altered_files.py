"""Files beyond all bounds cost little; what hostile files are made of (tools/fuzz) is sound."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from testbed.errors import TopologyError
from testbed.importers.hpcc import read_hpcc
from testbed.importers.text import MAX_BYTES, Text, read_json, read_text
from tools.fuzz.importers import FORMATS, attempt


@pytest.mark.parametrize("kind", FORMATS)
def test_the_files_that_hostile_ones_are_made_of_are_labs(kind: str) -> None:
    assert all(attempt(kind, text.encode()) for text in FORMATS[kind][0])


def test_a_file_beyond_the_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "topology.txt"
    with path.open("wb") as stream:
        stream.truncate(2**40)
    began = time.process_time()
    with pytest.raises(TopologyError, match=f"larger than {MAX_BYTES} bytes"):
        read_text(path)
    assert time.process_time() - began < 2


def test_the_largest_file_of_words_is_read_in_little_time() -> None:
    began = time.process_time()
    with pytest.raises(TopologyError, match="the count"):
        read_hpcc(Text("t", "3 x 2\n" + "1 2 " * (MAX_BYTES // 4)))
    with pytest.raises(TopologyError, match="the file ends where"):
        read_hpcc(Text("t", "16384 1 16384\n16383\n" + "1 16383 1G 1us 0\n" * 16_383))
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": {"b": 1,\n"b": 2}}', 'a:1: the key "b" is given twice'),
        ('{"a": 1,\n}', "a:2: not JSON"),
        ('{"a": ' + "9" * 100_000 + "}", "a number of more than 64 digits"),
        ('{"a": NaN}', "NaN is not a number"),
        ("[]", "a:1: not a JSON object"),
    ],
)
def test_json_is_read_within_bounds(text: str, said: str) -> None:
    with pytest.raises(TopologyError) as caught:
        read_json(Text("a", text))
    assert said in str(caught.value)
