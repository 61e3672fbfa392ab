"""Ranges of a search: values are read with their units, and each step is a value that is read as the same."""

import pytest

from testbed.errors import UsageError
from testbed.study.ranges import read_range


@pytest.mark.parametrize(
    ("key", "text", "tolerance", "first", "second", "last", "steps"),
    [
        ("lossless.headroom", "0:4MiB", "64KiB", "0B", "64KiB", "4MiB", 64),
        ("lossless.headroom", "10%:100%", "1%", "10%", "11%", "100%", 90),
        ("topology.length", "1m:11m", "10%", "1m", "2m", "11m", 10),
        ("transport.timeout", "1us:2us", "300ns", "1us", "1.3us", "2us", 4),
        ("topology.links[0].rate", "100G:400G", "100G", "100G", "200G", "400G", 3),
        ("workload.size", "1M:4M", "1M", "1MiB", "2MiB", "4MiB", 3),
        ("transport.retries", "1:7", "1%", "1", "2", "7", 6),
        ("timeline.loss", "0.01:0.02", "0.005", "0.01", "0.015", "0.02", 2),
    ],
)
def test_a_range_is_searched_in_steps(
    key: str, text: str, tolerance: str, first: str, second: str, last: str, steps: int
) -> None:
    searched = read_range(key, text, tolerance)
    assert [searched.text(step) for step in (0, 1, searched.steps)] == [first, second, last]
    assert searched.steps == steps
    for step in range(steps + 1):
        assert searched.unit.read(searched.text(step)) == min(searched.low + step * searched.step, searched.high)


@pytest.mark.parametrize(
    ("text", "tolerance", "message"),
    [
        ("4MiB", "1%", "write both ends"),
        (":4MiB", "1%", "write both ends"),
        ("4MiB:0", "1%", "4MiB is not less than 0"),
        ("1km:4MiB", "1%", "are not two sizes, times, lengths"),
        ("0:4MiB", "1km", "--tolerance"),
        ("0:4MiB", "0", "must be greater than 0"),
        ("0:4MiB", "8MiB", "must be greater than 0 and less than the range"),
        ("1e999999999:2", "1%", "are not two"),
    ],
)
def test_a_range_that_is_none_is_refused(text: str, tolerance: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_range("lossless.headroom", text, tolerance)
