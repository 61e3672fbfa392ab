"""Series in memory, as bytes, and on disk; how often a run is sampled."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import UsageError
from testbed.timeseries import Key, TimeSeries, decode, describe, encode, files, join, read, write
from testbed.timeseries.limits import MAX_CHANGES, check_period, check_points, plan_series

QUEUE = Key("port", "leaf:eth1", 3, "queue_bytes")
SENT = Key("port", "leaf:eth1", 3, "bytes_tx")
RATE = Key("qp", "17 a -> b", -1, "rate_bps")
US = 10**6


def track(changes: dict[int, int]) -> tuple[Any, Any]:
    return np.array(list(changes), np.int64), np.array(list(changes.values()), np.int64)


def series(period_ps: int, points: int, tracks: dict[Key, dict[int, int]]) -> TimeSeries:
    return TimeSeries(period_ps, points, {key: track(changes) for key, changes in tracks.items()})


def some() -> TimeSeries:
    return series(
        10 * US,
        6,
        {SENT: {1: 100, 3: 250}, QUEUE: {2: 50, 4: 0}, RATE: {0: 10**11}, Key("rank", "0", -1, "step"): {5: 2}},
    )


def test_a_value_holds_until_it_changes() -> None:
    made = some()
    assert made.values(QUEUE).tolist() == [0, 0, 50, 50, 0, 0]
    assert made.values(SENT).tolist() == [0, 100, 100, 250, 250, 250]
    assert made.values(Key("port", "leaf:eth9", 3, "queue_bytes")).tolist() == [0] * 6
    assert (made.period_ns, made.rows, len(made.keys())) == (10_000, 6, 4)


dense = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@given(dense)
def test_at_twice_the_period_every_second_value_is_left(values: list[int]) -> None:
    last, changes = 0, {}
    for point, value in enumerate(values):
        if value != last:
            changes[point] = last = value
    fine = series(US, len(values), {QUEUE: changes})
    coarse = fine.halved()
    # The last point stands for the end, whether the period divides what came before it or not.
    assert (
        coarse.values(QUEUE).tolist() == [*values[:-1:2], values[-1]] if len(values) % 2 else [*values[::2], values[-1]]
    )
    assert decode(encode(coarse)) == coarse


def test_bytes_are_read_back_and_no_bytes_are_nothing() -> None:
    assert decode(encode(some())) == some()
    assert decode(b"") is None and encode(None) == b"" and join([b"", b""]) == b""
    for broken in (b"\x02\0\0\0{}", encode(some())[:-4], b"abc"):
        with pytest.raises(ValueError, match="no series"):
            decode(broken)


def test_agents_are_joined_at_the_longest_period() -> None:
    other = Key("port", "spine:eth1", 3, "queue_bytes")
    here = series(10 * US, 9, {QUEUE: {1: 5, 2: 7, 3: 0, 8: 4}})
    there = series(40 * US, 3, {other: {1: 9}})
    joined = decode(join([encode(here), encode(there)]))
    assert joined is not None
    assert joined == series(40 * US, 3, {QUEUE: {2: 4}, other: {1: 9}})


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_a_file_has_it_all(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_has_pyarrow", lambda: form == "parquet")
    for made in (some(), series(US, 1, {})):
        told = describe(made, "auto")
        assert (told["file"], told["points"], told["rows"]) == (f"series.{form}", made.points, made.rows)
        write(made, tmp_path / told["file"])
        (tmp_path / "run.json").write_text(json.dumps({"time_series": told}))
        assert read(tmp_path) == made and read(tmp_path / "run.json") == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", f"series.{form}"]


def test_parquet_is_a_table_for_anybody(tmp_path: Path) -> None:
    import pyarrow.parquet

    write(some(), tmp_path / "series.parquet")
    rows = pyarrow.parquet.read_table(tmp_path / "series.parquet").to_pylist()
    first = {
        "kind": "port",
        "name": "leaf:eth1",
        "priority": 3,
        "quantity": "bytes_tx",
        "time_ps": 10 * US,
        "value": 100,
    }
    assert len(rows) == some().rows and rows[0] == first


def test_a_run_without_series_has_none_and_a_lost_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"time_series": null}')
    assert read(tmp_path) is None
    (tmp_path / "run.json").write_text('{"time_series": {"file": "series.npz"}}')
    with pytest.raises(UsageError, match=r"cannot read the series of .*run[.]json"):
        read(tmp_path)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "series.npz").mkdir()
    with pytest.raises(Exception, match=r"series[.]npz"):
        write(some(), tmp_path / "series.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["series.npz"]


def plan(ports: int, *rates_bps: int) -> Any:
    return {"nodes": [{"ports": [{"rate_bps": rate} for rate in rates_bps] * ports}]}


@pytest.mark.parametrize(
    ("ports", "rate_bps", "period_ps"),
    [
        (64, 10**11, US // 10),
        (65, 10**11, US),
        (256, 4 * 10**11, US // 4),
        (257, 10**11, 4 * US),
        (2, 10**10, US),
        (2, 10**13, 1000),
    ],
)
def test_auto_begins_with_some_frames_of_the_fastest_port(ports: int, rate_bps: int, period_ps: int) -> None:
    assert plan_series("auto", plan(ports // 2, rate_bps, 10**9) if ports % 2 == 0 else plan(ports, rate_bps)) == {
        "period_ps": period_ps,
        "points": 4_000,
        "changes": MAX_CHANGES,
    }


def test_auto_begins_longer_where_the_run_takes_longer_whatever_the_rest() -> None:
    """Of a large lab nobody reckons how long: its first period is long enough."""
    assert plan_series("auto", plan(2, 10**11), lambda: 6_000 * US)["period_ps"] == 2 * US
    assert plan_series("auto", plan(2, 10**11), lambda: 100 * US)["period_ps"] == US // 10
    assert plan_series("auto", plan(300, 10**11), lambda: 1 // 0)["period_ps"] == 4 * US


def test_a_period_that_is_asked_for_is_kept() -> None:
    assert plan_series(20 * US, plan(2, 10**11), sent=True) == {
        "period_ps": 20 * US,
        "points": 10**6,
        "changes": 2_000_000,
    }


def _period(period_ps: int) -> None:
    check_period(period_ps)


def _points(limit_ps: int) -> None:
    check_points(10 * US, limit_ps)


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (_period, 99_000, "at least 100ns"),
        (_period, 1_000_500, "whole nanoseconds"),
        (_points, 10**13 + 10 * US, "10us in a limit of .* are 1,000,001 points, and 1,000,000 are kept; a period of"),
        (_points, 6 * 10**13, "a period of 60us fits"),
    ],
)
def test_a_period_that_passes_the_bounds_is_refused(check: Callable[[int], None], value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(value)
    for fine in (10**5, 10 * US):
        check_period(fine)
    check_points(10 * US, 10**13)
