"""Series as the bytes that the data plane gives and that agents send: a JSON header behind its length, points, and values.

All little-endian: the length has four bytes, each point four, each value eight, in the order of the header's tracks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from testbed.timeseries.model import Key, TimeSeries

_NO_PRIORITY = -1


def decode(data: bytes) -> TimeSeries | None:
    """Read series; None of no bytes. Raises ValueError for bytes that are something else."""
    if not data:
        return None
    length = int.from_bytes(data[:4], "little")
    try:
        header = json.loads(data[4 : 4 + length])
        counts = [track["changes"] for track in header["tracks"]]
        total = sum(counts)
        points = np.frombuffer(data, "<u4", total, 4 + length).astype(np.int64)
        values = np.frombuffer(data, "<u8", total, 4 + length + 4 * total).astype(np.int64)
        keys = [_key(track) for track in header["tracks"]]
        period_ps, count = int(header["period_ps"]), int(header["points"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"these bytes are no series: {error}") from None
    ends = np.cumsum(counts, dtype=np.int64)[:-1]
    parts = zip(np.split(points, ends), np.split(values, ends), strict=True)
    return TimeSeries(period_ps, count, dict(zip(keys, parts, strict=False)))


def _key(track: dict[str, object]) -> Key:
    priority = track["priority"]
    return Key(
        str(track["kind"]),
        str(track["name"]),
        _NO_PRIORITY if priority is None else int(str(priority)),
        str(track["quantity"]),
    )


def encode(series: TimeSeries | None) -> bytes:
    """Write series, for `decode`."""
    if series is None:
        return b""
    tracks = list(series.tracks())
    names = [
        {**key._asdict(), "priority": None if key.priority == _NO_PRIORITY else key.priority, "changes": len(points)}
        for key, points, _ in tracks
    ]
    header = json.dumps({"period_ps": series.period_ps, "points": series.points, "tracks": names}).encode()
    columns = [*(points.astype("<u4") for _, points, _ in tracks), *(values.astype("<u8") for *_, values in tracks)]
    return len(header).to_bytes(4, "little") + header + b"".join(column.tobytes() for column in columns)


def join(parts: Sequence[bytes]) -> bytes:
    """Join the series of agents that each have a part of a lab, at the longest of their periods."""
    series = [one for part in parts if (one := decode(part)) is not None]
    if not series:
        return b""
    period_ps = max(one.period_ps for one in series)
    alike = [_at(one, period_ps) for one in series]
    tracks = {key: (points, values) for one in alike for key, points, values in one.tracks()}
    return encode(TimeSeries(period_ps, max(one.points for one in alike), tracks))


def _at(series: TimeSeries, period_ps: int) -> TimeSeries:
    """Return series at a period that is theirs, or theirs doubled a few times."""
    while series.period_ps < period_ps:
        series = series.halved()
    return series
