"""Sweeps and campaigns by kept points: nothing is run twice, shares make the same table, and what is missing is named."""

import csv
import gzip
import io
import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from testbed.study import combinations

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
SIZES = "workload.size=8KiB,16KiB,32KiB,64KiB,128KiB"
SWEEP = ("sweep", "incast", "-t", "incast:senders=2", "--over", SIZES, "--over", "transport.mtu=1024,4096")
ONE = ("--jobs", "1", "--cache", "kept")


def computed(directory: Path) -> dict[str, int]:
    """Return how often each kept point was computed, by its name."""
    heads = {
        path.name: json.loads(gzip.decompress(path.read_bytes()).splitlines()[0])
        for path in directory.glob("*.json.gz")
    }
    return {name: len(head["computed"]) for name, head in heads.items()}


def files(directory: Path) -> dict[str, Any]:
    """Return what the files below a directory hold; times and commands are left out."""

    def held(path: Path) -> Any:
        return json.loads(path.read_text()) | {"provenance": None} if path.suffix == ".json" else path.read_bytes()

    return {
        path.relative_to(directory).as_posix(): held(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in ("report.html", "sweep.json")
    }


def rows(directory: Path) -> Any:
    return json.loads((directory / "sweep.json").read_text())["rows"]


def test_a_second_sweep_runs_nothing_and_says_the_same(
    call_testbed: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--best-by", "workload.size", "--series", "1us")
    first = call_testbed(*SWEEP, *ONE, *options, "--out", "first")
    assert first.returncode == 0 and " from " not in first.stderr, first.stderr

    def run(*_: object, **__: object) -> None:
        raise AssertionError("a point was run again")

    monkeypatch.setattr(combinations.perform, "run_virtual", run)
    second = call_testbed(*SWEEP, *ONE, *options, "--out", "second")
    assert second.returncode == 0 and second.stdout == first.stdout
    assert second.stderr.splitlines()[0] == "0 run, 10 from kept"
    assert files(tmp_path / "first") == files(tmp_path / "second") and len(files(tmp_path / "first")) == 20
    assert rows(tmp_path / "first") == rows(tmp_path / "second")
    assert set(computed(tmp_path / "kept").values()) == {1}


def test_a_kept_point_is_that_of_its_lab_and_settings_by_whatever_name(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(json.dumps(lab("20m")))
    small = ("sweep", "incast", "--set", "workload.size=8KiB", "--over", "transport.mtu=1024,4096", *ONE, "--no-report")
    assert "run, " not in call_testbed(*small, "-t", "mine.yaml").stderr
    (tmp_path / "other.yaml").write_text(json.dumps(lab("20m")))
    assert "0 run, 2 from kept" in call_testbed(*small, "-t", "other.yaml", "--out", "moved").stderr
    moved = json.loads((tmp_path / "moved" / "row-0" / "run.json").read_text())
    assert moved["settings"]["experiment"]["topology"] == "other.yaml" and "-t other.yaml" in moved["replay"]
    (tmp_path / "other.yaml").write_text(json.dumps(lab("30m")))
    assert "run, " not in call_testbed(*small, "-t", "other.yaml").stderr
    assert "run, " not in call_testbed(*small, "-t", "other.yaml", "--seed", "2").stderr
    assert len(computed(tmp_path / "kept")) == 6


def lab(length: str) -> dict[str, Any]:
    nodes = {"h1": {"kind": "host"}, "h2": {"kind": "host"}, "s": {"kind": "switch"}}
    links = [{"endpoints": [f"h{host}:eth1", f"s:eth{host}"], "length": length} for host in (1, 2)]
    return {"name": "mine", "topology": {"nodes": nodes, "links": links}}


def test_an_interrupted_sweep_goes_on_and_computes_none_twice(
    call_testbed: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_virtual = combinations.perform.run_virtual
    runs = itertools.count(1)

    def until_the_fourth(*arguments: Any, **options: Any) -> Any:
        if next(runs) == 4:
            raise KeyboardInterrupt
        return run_virtual(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(combinations.perform, "run_virtual", until_the_fourth)
        cut = call_testbed(*SWEEP, *ONE)
    assert cut.returncode == 130 and "goes on from there: 3 are in kept" in cut.stderr
    assert len(computed(tmp_path / "kept")) == 3
    again = call_testbed(*SWEEP, *ONE, "--out", "whole")
    assert again.returncode == 0 and "7 run, 3 from kept" in again.stderr
    assert len(rows(tmp_path / "whole")) == len(computed(tmp_path / "kept")) == 10
    assert set(computed(tmp_path / "kept").values()) == {1}


def test_shares_make_the_table_of_one_process(call_testbed: Cli, tmp_path: Path) -> None:
    alone = call_testbed(*SWEEP, "--jobs", "1", "--no-cache", "--format", "csv", "--out", "alone")
    assert alone.returncode == 0 and not (tmp_path / "kept").exists()
    shares = [call_testbed(*SWEEP, *ONE, "--shard", f"{number}/3") for number in (3, 1)]
    assert [share.stderr for share in shares] == [
        "share 3/3: 3 run, 0 from kept\n",
        "share 1/3: 4 run, 0 from kept\n",
    ]
    assert [(share.returncode, share.stdout) for share in shares] == [(0, "")] * 2
    partly = call_testbed(*SWEEP, *ONE, "--collect", "--out", "partly")
    assert partly.returncode == 1 and "0 run, 7 from kept, 3 missing" in partly.stderr
    verdicts = [row["verdict"] for row in rows(tmp_path / "partly")]
    assert [number for number, verdict in enumerate(verdicts) if verdict == "missing"] == [1, 4, 7]
    assert "1, 4, 7: not computed yet" in partly.stdout
    call_testbed(*SWEEP, *ONE, "--shard", "2/3")
    together = call_testbed(*SWEEP, *ONE, "--collect", "--format", "csv", "--out", "together")
    assert together.returncode == 0 and together.stdout == alone.stdout
    assert files(tmp_path / "together") == files(tmp_path / "alone")
    documents = [json.loads((tmp_path / name / "sweep.json").read_text()) for name in ("alone", "together")]
    assert documents[0] == documents[1]


def test_what_cannot_run_here_is_told_by_collecting_and_tried_by_running(
    call_testbed: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = (
        "sweep",
        "incast",
        "-t",
        "incast:senders=2",
        "--set",
        "workload.size=64KiB",
        "--over",
        "transport.mtu=1024,4096",
    )
    with monkeypatch.context() as small:
        small.setattr("testbed.run.footprint.available_bytes", lambda: 1)
        call_testbed(*huge, *ONE, "--shard", "1/1")
        collected = call_testbed(*huge, *ONE, "--collect")
        assert collected.returncode == 2 and "no combination can be run" in collected.stderr, collected.stderr
    assert call_testbed(*huge, *ONE).returncode == 0


def test_a_campaign_goes_by_kept_points_too(call_testbed: Cli, tmp_path: Path) -> None:
    few = ("campaign", "--seeds", "6", "--first", "40", "--format", "json", *ONE)
    assert call_testbed(*few, "--shard", "2/2").returncode == 0
    partly = call_testbed(*few, "--collect")
    assert partly.returncode == 1 and json.loads(partly.stdout)["missing"] == [40, 42, 44]
    assert "not run yet: seeds 40, 42, 44" in partly.stderr
    whole = call_testbed(*few)
    assert whole.returncode == 0 and "3 run, 3 from kept" in whole.stderr
    assert json.loads(whole.stdout) == json.loads(call_testbed(*few, "--collect").stdout)
    assert json.loads(call_testbed(*few[:-2], "--no-cache").stdout) == json.loads(whole.stdout)
    assert len(computed(tmp_path / "kept")) == 6 and set(computed(tmp_path / "kept").values()) == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shard", "9/8"), "write which share of how many"),
        (("--shard", "1/2", "--no-cache"), "--shard needs the cache"),
        (("--collect", "--no-cache"), "--collect needs the cache"),
        (("--shard", "1/2", "--collect"), "choose one"),
    ],
)
def test_means_that_contradict_each_other_are_refused(
    call_testbed: Cli, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    for verb in (SWEEP, ("campaign", "--seeds", "2")):
        done = call_testbed(*verb, *options)
        assert done.returncode == 2 and message in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_lab_file_is_swept_by_its_keys_and_each_row_can_be_repeated(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(json.dumps(lab("20m")))
    over = ("--over", "topology.links[1].length=1km,80km", "--over", "topology.nodes.s.buffer=auto,32MB")
    small = ("sweep", "incast", "-t", "mine.yaml", "--set", "workload.size=8KiB", *over, *ONE, "--format", "json")
    swept = json.loads(call_testbed(*small).stdout)["rows"]
    times = [row["figures"]["time_us"] for row in swept]
    assert times[0] == times[1] < times[2] == times[3] and times[2] - times[0] > 2 * 4.89 * 79
    assert swept[1]["figures"]["buffer_bytes"] == 32_000_000
    repeated = call_testbed(*shlex.split(swept[3]["replay"])[1:], "--format", "json")
    assert json.loads(repeated.stdout)["event_log_hash"] == swept[3]["event_log_hash"]
    unknown = call_testbed(*small[:-6], "--over", "topology.links[7].length=1km,80km")
    assert unknown.returncode == 2 and "topology.links[7]: not in this lab: topology.links has 2" in unknown.stderr


def test_rows_are_written_as_parquet_too(call_testbed: Cli, tmp_path: Path) -> None:
    over = ("sweep", "incast", "-t", "incast:senders=2", "--over", SIZES, "--over", "transport.mtu=1024,9000", *ONE)
    lines = list(csv.DictReader(io.StringIO(call_testbed(*over, "--format", "csv").stdout)))
    code = "import sys; from testbed.start import main; sys.exit(main())"
    with (tmp_path / "rows.parquet").open("wb") as file:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", code, *over, "--format", "parquet"]
        subprocess.run(command, cwd=tmp_path, env=environment, stdout=file, stderr=subprocess.DEVNULL, check=False)
    table = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert len(table) == len(lines) == 10 and list(table[0]) == list(lines[0])
    for row, line in zip(table, lines, strict=True):
        assert {key: "" if value is None else str(value) for key, value in row.items()} == line
    assert table[1]["time_us"] is None and table[0]["drops_lossless"] == 0
