"""Tables of a result: the same rows and columns as CSV and as Parquet."""

from __future__ import annotations

import csv
import importlib
import io
from typing import Any

import pytest
from pyarrow import parquet

from testbed.errors import HostError
from testbed.exports.tables import csv_text, parquet_bytes

ROWS: list[dict[str, Any]] = [
    {"src": "h1", "bytes": 2**40, "start_us": 0, "slowdown": 1.5, "in_place": False},
    {"src": "h2", "bytes": 7, "start_us": 2.25, "slowdown": None, "in_place": True, "cut": "x"},
]


def test_parquet_has_the_columns_of_csv_with_their_types() -> None:
    table = parquet.read_table(io.BytesIO(parquet_bytes(ROWS)))
    (header, *_) = csv.reader(io.StringIO(csv_text(ROWS)))
    assert table.column_names == header
    assert table.to_pylist() == [{**ROWS[0], "cut": None}, ROWS[1]]
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "src": "string",
        "bytes": "int64",
        "start_us": "double",
        "slowdown": "double",
        "in_place": "bool",
        "cut": "string",
    }
    assert parquet.read_table(io.BytesIO(parquet_bytes([]))).num_rows == 0


def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(HostError, match=r"pip install 'lossless-testbed\[data\]'"):
        parquet_bytes(ROWS)
