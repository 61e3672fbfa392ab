"""A run that this machine could not carry: repeated once, larger, where the testbed chose the dilation, and told what to do."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from testbed.commands import run
from testbed.contract.plan import Plan
from testbed.control import verbs
from testbed.experiment.file import Experiment
from testbed.lab.topology import Lab
from testbed.machine import calibration
from testbed.run import fidelity, perform, trial
from testbed.run.execution import Outcome
from testbed.run.fidelity import FidelityBounds
from testbed.run.trial import Trial

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
FAITHFUL = {
    "lateness_ns": {"p50": 1, "p99": 2, "max": 3},
    "held_share": 0.01,
    "cpu_share": 0.3,
    "socket_drops": 0,
    "overflow": 0,
}
HELD = FAITHFUL | {"held_share": 0.591}
PAIR = ("run", "all_reduce", "-t", "pair", "-b", "4K", "--format", "json", "--clock", "real")


class Machine:
    """Stands in for the agent: runs under the virtual clock, and reports the fidelity that it is given, one a run."""

    def __init__(self, fidelities: Sequence[dict[str, Any]], stands: bool = False) -> None:
        self.fidelities = list(fidelities)
        self.stands = stands
        self.dilations: list[int] = []
        self.destroyed = 0

    async def run(self, target: Any, subject: Trial, dilation: int, **_: Any) -> Outcome:
        self.dilations.append(dilation)
        outcome = await asyncio.to_thread(perform.run_virtual, subject, None, lambda _: None)
        outcome.report = {**copy.deepcopy(outcome.report), "fidelity": self.fidelities.pop(0)}
        return outcome

    async def is_up(self, target: Any, lab: str) -> bool:
        return self.stands

    async def destroy(self, target: Any, lab: str) -> None:
        self.destroyed += 1


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, call_testbed: Cli) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs testbed on a machine, for which calibration chooses dilation 20."""

    def started(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
        for verb in ("run", "is_up", "destroy"):
            monkeypatch.setattr(verbs, verb, getattr(machine, verb))
        monkeypatch.setattr(calibration, "resolve_dilation", lambda asked, _: 20 if asked == "auto" else int(asked))
        monkeypatch.setattr(run, "real_clock_obstacle", lambda: None)
        return call_testbed(*PAIR, *arguments)

    return started


def test_an_untrusted_run_is_repeated_once_at_a_larger_dilation(on: Cli) -> None:
    machine = Machine([HELD, FAITHFUL])
    done = on(machine)
    assert (done.returncode, machine.dilations) == (0, [20, 100])
    assert json.loads(done.stdout)["dilation"] == 100 and json.loads(done.stdout)["verdict"]["advice"] == ""
    assert "untrusted: share of the time held back is 0.591, more than 0.5" in done.stderr
    assert "repeating it once at 100" in done.stderr


def test_the_second_run_is_the_last_and_its_verdict_says_what_to_do(on: Cli) -> None:
    machine = Machine([HELD, HELD])
    done = on(machine)
    assert (done.returncode, machine.dilations) == (4, [20, 100])
    advice = json.loads(done.stdout)["verdict"]["advice"]
    assert "--dilation 500" in advice and "--clock virtual" in advice


@pytest.mark.parametrize("given", [("--dilation", "20"), ("--set", "dilation=20")])
def test_a_dilation_that_was_given_is_kept(on: Cli, given: tuple[str, str]) -> None:
    machine = Machine([HELD])
    done = on(machine, *given)
    assert (done.returncode, machine.dilations) == (4, [20])
    assert "--dilation 100" in json.loads(done.stdout)["verdict"]["advice"]


def test_a_lab_that_was_up_is_left_as_it_is(on: Cli) -> None:
    machine = Machine([HELD], stands=True)
    assert (on(machine).returncode, machine.dilations, machine.destroyed) == (4, [20], 0)


def test_a_lab_to_keep_is_built_anew_for_the_second_run(on: Cli) -> None:
    machine = Machine([HELD, FAITHFUL])
    assert (on(machine, "--keep").returncode, machine.dilations, machine.destroyed) == (0, [20, 100], 1)


@pytest.mark.parametrize("arguments", [("--dilation", "20"), (), ("--clock", "virtual")])
def test_a_plan_is_compiled_once_for_the_clock_that_runs_it(
    on: Cli, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks: list[tuple[str, int | str]] = []
    compile_fabric = trial.compile_fabric

    def noted(lab: Lab, experiment: Experiment) -> Plan:
        clocks.append((experiment.clock, experiment.dilation))
        return compile_fabric(lab, experiment)

    monkeypatch.setattr(trial, "compile_fabric", noted)
    assert on(Machine([FAITHFUL]), *arguments).returncode == 0
    assert clocks == [("virtual" if "virtual" in arguments else "real", 20 if "20" in arguments else "auto")]


def test_the_report_for_people_ends_with_what_to_do(on: Cli, tmp_path: Path) -> None:
    done = on(Machine([HELD, HELD]), "--format", "table")
    *_, last = done.stdout.splitlines()
    assert last.startswith("What to do: repeat it with --dilation 500, ")


def test_at_the_largest_dilation_only_the_machine_can_change() -> None:
    assert "faster machine" in fidelity.advice(10**6, HELD, FidelityBounds())


@pytest.mark.parametrize(
    ("figures", "times"),
    [
        (FAITHFUL | {"held_share": 0.75}, 4),
        (FAITHFUL | {"held_share": 1.0}, 100),
        (FAITHFUL | {"lateness_ns": {"p50": 1, "p99": 10_500, "max": 99_999}}, 10.5),
        (None, 1),
    ],
)
def test_the_shortfall_is_that_of_the_figure_that_is_furthest_off(figures: dict[str, Any] | None, times: float) -> None:
    assert fidelity.shortfall(figures, FidelityBounds(lateness_p99_ns=1000)) == pytest.approx(times)
