"""Series of a run: exact at each point, the same on any number of cores, without an effect on what they are of."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from testbed.report.page.document import Run
from testbed.report.page.reading import read_all
from testbed.run import perform
from testbed.run.trial import Trial
from testbed.timeseries import Key, TimeSeries, decode, read
from tests.virtual.harness import (
    FULL_FRAME_BYTES,
    FULL_WIRE_BYTES,
    MTU,
    PS_PER_BYTE,
    RETH_BYTES,
    finish,
    flows_to_last,
    loaded_fabric,
    make_trial,
    star,
)

Cli = Callable[..., "CompletedProcess[str]"]

LENGTHS = ("workload.payload=false", "transport.mtu=4096")
FRAME_PS = FULL_WIRE_BYTES * PS_PER_BYTE
CONGESTED = ("lossless.ecn={kmin: 20KB, kmax: 200KB, pmax: 0.2}", "transport.congestion-control=dcqcn")


@pytest.fixture
def testbed(call_testbed: Cli) -> Cli:
    return call_testbed


def recorded(trial: Trial, cores: int = 1) -> tuple[dict[str, Any], TimeSeries, bytes]:
    outcome = perform.run_virtual(trial, None, lambda progress: None, cores)
    series = decode(outcome.series)
    assert series is not None
    return dict(outcome.report), series, outcome.series


def at_port(name: str, quantity: str) -> Key:
    return Key("port", name, 3, quantity)


def test_two_senders_fill_the_queue_of_the_third_by_a_frame_each_frame_time() -> None:
    """Frame k of both is in the switch at delay + k·t, and the k-th of all begins to leave then.

    Only the first frame of a message is longer, by the address that a WRITE has in it: RETH.
    """
    delay_ps, frames, period_ps = 500_000, 40, 777_000
    trial = make_trial(star(dict.fromkeys("abc", f"{delay_ps}ps")), "incast", *LENGTHS)
    fabric = loaded_fabric(trial, flows_to_last(2, frames * MTU))
    fabric.record_series(json.dumps({"period_ps": period_ps, "points": 4_000, "changes": 10**6}))
    assert finish(fabric)["complete"]
    series = decode(fabric.series())
    assert series is not None and fabric.series() == b""
    first_ps = FRAME_PS + RETH_BYTES * PS_PER_BYTE
    begun = np.arange(series.points) * period_ps - delay_ps
    whole = np.where(begun >= first_ps, 1 + (begun - first_ps) // FRAME_PS, 0)
    # Both first frames, one of each sender, are the longer ones, and leave first.
    left = np.where(begun < 2 * first_ps, whole, 2 + (begun - 2 * first_ps) // FRAME_PS)
    come = 2 * np.minimum(whole, frames)
    held = np.maximum(come - np.minimum(left, 2 * frames), 0)
    queue = series.values(at_port("sw:eth3", "queue_bytes"))
    assert queue.tolist() == (held * FULL_FRAME_BYTES + np.where((whole >= 1) & (left == 1), RETH_BYTES, 0)).tolist()
    assert queue.max() >= (frames - 2) * FULL_FRAME_BYTES and queue[-1] == 0


@pytest.mark.parametrize(
    ("lab", "what", "settings"),
    [
        ("two-dc:hosts=3,length=60km", "incast", ("workload.size=1MB", "workload.iterations=2")),
        ("two-dc:hosts=2,length=1km", "incast", ("workload.size=1MB", *CONGESTED)),
        # Samples fall between events of ports that pause each other: none may be polled for being looked at.
        ("clos:tiers=3,rate=100G,delay=1us", "permutation", ("workload.size=1MB", "transport.ack-every=1", *LENGTHS)),
    ],
)
def test_a_run_is_the_same_with_series_and_they_are_the_same_on_any_cores(
    lab: str, what: str, settings: tuple[str, ...]
) -> None:
    plain = perform.run_virtual(make_trial(lab, what, *settings), None, lambda progress: None)
    trial = make_trial(lab, what, *settings, "series=auto")
    report, series, whole = recorded(trial)
    assert json.dumps(report) == json.dumps(plain.report)
    for cores in (2, 4):
        again, _, other = recorded(trial, cores)
        assert (again["event_log_hash"], other) == (report["event_log_hash"], whole)
    last = {key: int(series.values(key)[-1]) for key in series}
    for name, port in report["ports"].items():
        for number, counters in port["priorities"].items():
            for quantity, count in (("bytes_tx", "bytes_tx"), ("paused_ns", "paused_ns"), ("marked", "ecn_marked")):
                assert last.get(Key("port", name, int(number), quantity), 0) == counters[count], (
                    name,
                    number,
                    quantity,
                )
            most = int(series.values(Key("port", name, int(number), "queue_bytes")).max())
            assert most <= counters["queue_bytes_max"]
    assert {key.name for key in series if key.kind == "rank"} == {str(rank) for rank in range(len(report["ranks"]))}
    rates = [series.values(key) for key in series if key.kind == "qp"]
    assert bool(rates) == ("transport.congestion-control=dcqcn" in settings)
    assert all(rate[0] == 10**11 and rate.min() < 10**11 for rate in rates if (np.diff(rate) != 0).any())


@pytest.mark.parametrize(
    ("lab", "what", "settings"),
    [
        (star({"a": "1us", "b": "1us"}), "sendrecv", ("workload.size=50MB",)),
        (star({"a": "1us", "b": "1us"}), "sendrecv", ("workload.size=120MB",)),
        (
            star({"a": "1us", "b": "1us"}),
            "sendrecv",
            ("workload.minbytes=1MB", "workload.maxbytes=2MB", "workload.iterations=2"),
        ),
        ("incast:senders=7", "incast", ("workload.size=1MB",)),
        ("clos:spines=2,leaves=4,hosts=4", "all_to_all", ("workload.size=1MB",)),
        ("two-dc", "all_reduce", ("workload.size=1MB",)),
    ],
)
def test_auto_has_some_thousands_of_points_however_long_the_run(lab: Any, what: str, settings: tuple[str, ...]) -> None:
    _, series, _ = recorded(make_trial(lab, what, *settings, "series=auto", *LENGTHS))
    assert 2_000 <= series.points <= 4_001, series.points


def assert_shown(directory: Path, series: TimeSeries) -> None:
    """What was recorded is in the report on it, and one that did not come along is not missed."""
    (shown,) = read_all([directory])
    assert isinstance(shown, Run) and shown.series is not None
    columns = {tuple(column[name] for name in Key._fields): column for column in shown.series["columns"]}
    for key in series:
        points, values = series.changes(key)
        assert (columns[key]["at"], columns[key]["value"]) == (points.tolist(), values.tolist())
    alone = directory.with_name("alone")
    alone.mkdir()
    (alone / "run.json").write_bytes((directory / "run.json").read_bytes())
    (moved,) = read_all([alone])
    assert isinstance(moved, Run) and moved.series is None


def test_the_command_writes_series_beside_the_result(testbed: Cli, tmp_path: Path) -> None:
    command = ("run", "incast", "-t", "incast:senders=2", "--clock", "virtual", "-b", "256K", "--out")
    for name, options in (("with", ("--series", "10us")), ("set", ("--set", "series=10us")), ("without", ())):
        done = testbed(*command, str(tmp_path / name), *options)
        assert done.returncode == 0, done.stderr
    files = {path.name for path in (tmp_path / "with").iterdir()} - {"run.json", "report.html"}
    assert len(files) == 1 and files < {"series.npz", "series.parquet"}
    one, other, plain = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("with", "set", "without"))
    told = one.pop("time_series")
    for document in (one, other, plain):
        del document["settings"], document["provenance"]
    assert (told["file"], told["asked"], told["period_ns"]) == (*files, "10us", 10_000.0)
    assert told == other.pop("time_series") and plain.pop("time_series") is None
    assert {**one, "replay": ""} == {**plain, "replay": ""} and "--series 10us" in one["replay"]
    series = read(tmp_path / "with")
    assert series is not None and series == read(tmp_path / "set") and read(tmp_path / "without") is None
    assert (series.points, series.rows) == (told["points"], told["rows"])
    assert_shown(tmp_path / "with", series)
    refused = testbed(*command, str(tmp_path / "with"), "--series", "10us")
    assert refused.returncode == 2 and "--force" in refused.stderr


def test_every_row_of_a_sweep_has_its_own(testbed: Cli, tmp_path: Path) -> None:
    text = "topology: incast:senders=2\nworkload: {collective: incast, size: 128KB}\nseries: 5us\n"
    (tmp_path / "e.yaml").write_text(text)
    done = testbed(
        "sweep",
        str(tmp_path / "e.yaml"),
        "--over",
        "transport.mtu=1024,4096",
        "--out",
        str(tmp_path / "out"),
        "--jobs",
        "1",
    )
    assert done.returncode == 0, done.stderr
    rows = [read(tmp_path / "out" / f"row-{number}") for number in range(2)]
    assert all(row is not None and row.period_ns == 5_000 and row.rows > 20 for row in rows)
    assert rows[0] != rows[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("series=50ns",), "series: a period is auto, or whole nanoseconds, at least 100ns"),
        (("series=often",), "series: "),
        (
            ("series=1us", "limit=2s"),
            "1us in a limit of 2s are 2,000,000 points, and 1,000,000 are kept; a period of 2us",
        ),
    ],
)
def test_a_period_that_cannot_be_is_refused_before_the_run(
    testbed: Cli, tmp_path: Path, settings: tuple[str, ...], message: str
) -> None:
    options = [word for setting in settings for word in ("--set", setting)]
    done = testbed("run", "incast", "-t", "incast:senders=2", "--out", str(tmp_path / "out"), *options)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()
