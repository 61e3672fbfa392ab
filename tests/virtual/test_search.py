"""Searches: the edge of a condition by bisection, the best of several settings by optuna, every probe a kept point."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from testbed.experiment.axes import Setting
from testbed.run.perform import run_virtual
from testbed.study import combinations, search
from testbed.study.ranges import read_range
from testbed.study.search import Aim, Probe

Cli = Callable[..., "CompletedProcess[str]"]
SMALL = ("search", "incast", "-t", "two-dc", "--set", "workload.size=8KiB", "--cache", "kept", "--jobs", "1")
LENGTH = ("--minimise", "topology.length", "--between", "1km:80km", "--tolerance", "1km")


class Made(search.Prober):
    """Probes of which a function says whether they hold."""

    def __init__(self, aim: Aim, holds: Callable[[int], bool]) -> None:
        self.aim, self.holds, self.probes, self.rounds = aim, holds, [], []

    def run(self, settings: Sequence[tuple[Setting, ...]]) -> list[Probe]:
        made = [
            Probe(
                settings=dict(each),
                holds=self.holds(int(each[0][1])),
                objective=None,
                verdict="passed",
                reasons=[],
                event_log_hash=None,
                replay="",
            )
            for each in settings
        ]
        self.probes += made
        self.rounds.append(len(made))
        return made


def bisected(holds: Callable[[int], bool], direction: str = "minimise") -> tuple[Made, int | None, list[str]]:
    made = Made(Aim(direction, "k", [], [read_range("k", "0:1000", "1")]), holds)
    best, notes = search.bisect(made)
    return made, None if best is None else int(made.probes[best].settings["k"]), notes


@pytest.mark.parametrize("edge", [0, 1, 249, 250, 251, 500, 777, 999, 1000])
def test_bisection_finds_the_edge_of_a_condition_from_both_sides(edge: int) -> None:
    made, best, notes = bisected(lambda k: k >= edge)
    assert (best, notes) == (edge, []) and len(made.probes) <= 5 + 8 and made.rounds[0] == 5
    _, best, notes = bisected(lambda k: k <= edge, "maximise")
    assert (best, notes) == (edge, [])


def test_a_condition_that_holds_nowhere_or_the_other_way_round_has_no_best() -> None:
    assert bisected(lambda k: False)[1:] == (None, ["the condition fails at 1000"])
    _, best, notes = bisected(lambda k: k < 300)
    assert best is None and notes[0] == "the condition is not monotonic: it holds at 250 and fails at 1000"


def test_what_is_not_monotonic_is_said_and_the_safe_edge_is_taken() -> None:
    _, best, notes = bisected(lambda k: 200 < k < 300 or k >= 900)
    assert best == 900 and notes == ["the condition is not monotonic: it holds at 250 and fails at 899"]


def test_the_least_length_at_which_a_condition_holds(call_testbed: Cli, tmp_path: Path) -> None:
    """A kilometre takes 9.794 us there and back, and all else 4.67 us: at 9 km a run takes 92.8 us, at 10 km 102.6."""
    done = call_testbed(*SMALL, *LENGTH, "--subject-to", "time_us >= 100", "--out", "first", "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    best = found["probes"][found["best"]]
    assert (best["settings"], best["holds"]) == ({"topology.length": "10km"}, True)
    below = next(each for each in found["probes"] if each["settings"] == {"topology.length": "9km"})
    assert not below["holds"] and "time_us >= 100: measured" in below["reasons"][0]
    assert (found["method"], found["between"]) == (
        "bisection",
        {"topology.length": {"low": "1km", "high": "80km", "tolerance": "1km"}},
    )
    assert json.loads((tmp_path / "first" / "search.json").read_text()) == found


def test_a_second_search_runs_nothing_and_a_narrower_one_little(
    call_testbed: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = call_testbed(*SMALL, *LENGTH, "--subject-to", "time_us >= 100")
    assert first.returncode == 0 and "topology.length 10km: the least at which time_us >= 100, to 1km" in first.stdout
    runs: list[Any] = []
    monkeypatch.setattr(combinations.perform, "run_virtual", lambda *a, **k: runs.append(a) or run_virtual(*a, **k))
    assert call_testbed(*SMALL, *LENGTH, "--subject-to", "time_us >= 100").stdout == first.stdout and not runs
    # Other conditions ask the same runs.
    other = call_testbed(*SMALL, *LENGTH, "--subject-to", "drops.lossless == 0")
    assert "topology.length 1km: the least at which drops.lossless == 0" in other.stdout and not runs


def test_a_run_that_cannot_be_is_a_probe_that_does_not_hold(call_testbed: Cli) -> None:
    done = call_testbed(*SMALL, "--minimise", "transport.mtu", "--between", "1000:5000", "--tolerance", "1000")
    assert done.returncode == 1 and "nowhere in the range: the run passes" in done.stdout
    assert '"5000" is not 1024, 2048 or 4096' in done.stdout and "note: the condition fails at 5000" in done.stdout


def test_optuna_searches_several_settings_seeded_and_by_kept_points(call_testbed: Cli) -> None:
    several = (
        *SMALL, "--minimise", "time_us", "--between", "topology.length=1km:80km", "--among",
        "transport.mtu=1024,4096", "--subject-to", "time_us >= 300", "--trials", "12", "--tolerance", "5km", "--format", "json",
    )  # fmt: skip
    first = json.loads(call_testbed(*several, "--seed", "3").stdout)
    best = first["probes"][first["best"]]
    held = [each["objective"] for each in first["probes"] if each["holds"]]
    assert len(first["probes"]) == 12 and best["objective"] == min(held) >= 300 and first["method"] == "optuna"
    assert any(not each["holds"] for each in first["probes"])
    again = call_testbed(*several, "--seed", "3", "--jobs", "2")
    assert json.loads(again.stdout)["probes"] == first["probes"] and "0 run, " in again.stderr
    assert json.loads(call_testbed(*several, "--seed", "4").stdout)["probes"] != first["probes"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say what is to be best"),
        (("--minimise", "time_us", "--maximise", "busbw"), "say what is to be best"),
        (("--minimise", "time_us"), "nothing varies"),
        (("--minimise", "lossless.headrom", "--between", "0:1MiB"), 'did you mean "headroom"'),
        (("--minimise", "topology.lenght", "--between", "1km:2km"), 'has no parameter "lenght"'),
        ((*LENGTH, "--subject-to", "drops.losless == 0"), 'did you mean "lossless"'),
        ((*LENGTH, "--subject-to", "time_us"), "a comparison"),
        ((*LENGTH, "--subject-to", "__import__('os') == 0"), "is not understood"),
        ((*LENGTH, "--between", "topology.length=1km:2km"), "topology.length is given twice"),
        (("--minimise", "time_uss", "--between", "seed=1:2"), 'the result has no "time_uss"'),
    ],
)
def test_bad_usage_runs_nothing(call_testbed: Cli, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = call_testbed(*SMALL, *options)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())
