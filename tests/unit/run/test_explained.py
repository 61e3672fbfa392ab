"""run.json explains itself: what was run with which addresses, what was expected, when and where."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from testbed import Lab
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.run import result
from testbed.run.trial import Trial, from_spec

Json = dict[str, Any]
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def run(call_testbed: Cli, directory: Path, *arguments: str) -> Json:
    call_testbed("run", *arguments, "--out", str(directory / "r"))
    document: Json = json.loads((directory / "r" / "run.json").read_text())
    return document


def test_a_result_holds_the_lab_and_the_experiment_that_were_run(call_testbed: Cli, tmp_path: Path) -> None:
    settings = ["lossless.headroom=50%", "transport.timeout=1ms", "seed=7"]
    options = [word for setting in settings for word in ("--set", setting)]
    document = run(call_testbed, tmp_path, "all_reduce", "-t", "pair:length=2km", "-b", "4K", *options)
    trial = Trial(new_experiment("pair:length=2km", "all_reduce").with_overrides(settings), load_lab("pair:length=2km"))
    again = from_spec(document["settings"])
    assert again.plan == trial.plan
    assert document["settings"]["lab"]["links"][0]["length_mm"] == 2_000_000
    assert document["settings"]["experiment"]["transport"]["timeout"] == "1ms"
    assert document["settings"]["experiment"]["transport"]["retries"] == 7, "a default"
    nics = {station["name"]: station for station in trial.plan["stations"] if station["kind"] == "nic"}
    assert document["addresses"] == {
        f"{host}:eth1": {key: nics[host][key] for key in ("mac", "ip")} for host in ("a1", "b1")
    }
    group = document["in_force"]["switches"]["leaf"]["groups"][0]
    assert {"xoff_bytes", "xon_bytes", "headroom_bytes"} <= group.keys()


def test_a_result_says_when_and_where_it_was_made(call_testbed: Cli, tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    made = run(call_testbed, tmp_path, "all_reduce", "-t", "pair", "-b", "4K")["provenance"]
    assert before <= datetime.fromisoformat(made["started"]) <= datetime.now(UTC)
    assert made["host"] == platform.node() and made["processors"] >= 1
    assert 0 < made["wall_s"] <= (datetime.now(UTC) - before).total_seconds()


def test_results_of_python_and_of_the_rows_of_a_sweep_say_when_and_where_too(call_testbed: Cli, tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    made = [Lab.virtual("pair").run(size="4K")]
    call_testbed(
        "sweep",
        "all_reduce",
        "-t",
        "pair",
        "--set",
        "workload.size=4K",
        "--over",
        "seed=1,2",
        "--out",
        str(tmp_path / "s"),
    )
    made += [result.read(tmp_path / "s" / f"row-{number}") for number in (0, 1)]
    for each in made:
        assert each.provenance is not None and each.provenance.host == platform.node()
        assert before <= datetime.fromisoformat(each.provenance.started) <= datetime.now(UTC)
        assert 0 < each.provenance.wall_s <= (datetime.now(UTC) - before).total_seconds()
        assert each.addresses.keys() == {"a1:eth1", "b1:eth1"} and each.versions["testbed"]


def test_expectations_are_listed_whether_they_held_or_not(call_testbed: Cli, tmp_path: Path) -> None:
    expect = '--set=expect=["drops.lossless == 0", "busbw >= 99", "time_us < 0"]'
    document = run(call_testbed, tmp_path, "all_reduce", "-t", "pair", "-b", "4K", expect)
    assert [(each["text"], each["held"]) for each in document["expectations"]] == [
        ("drops.lossless == 0", True),
        ("busbw >= 99", False),
        ("time_us < 0", False),
    ]
    failed = [f"expectation failed: {each['explanation']}" for each in document["expectations"] if not each["held"]]
    assert document["verdict"]["reasons"] == failed


def test_of_a_trace_a_result_has_the_name_of_its_file(call_testbed: Cli, tmp_path: Path) -> None:
    trace = tmp_path / "two.goal"
    trace.write_text("num_ranks 2\nrank 0 {\nsend 8b to 1\n}\nrank 1 {\nrecv 8b from 0\n}\n")
    call_testbed("replay", str(trace), "-t", "pair", "--out", str(tmp_path / "r"))
    document = json.loads((tmp_path / "r" / "run.json").read_text())
    (job,) = document["settings"]["experiment"]["jobs"]
    assert [Path(name).name for name in job["trace"]] == ["two.goal"]


def test_the_schema_of_results_is_printed(call_testbed: Cli) -> None:
    schema = json.loads(call_testbed("schema", "run").stdout)
    assert schema["title"] == "RunResult" and schema["properties"]["schema"]["const"] == 1
    assert {"settings", "expectations", "provenance", "addresses"} <= schema["properties"].keys()
