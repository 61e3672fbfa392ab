"""`testbed init` writes a project that passes as it stands, and nothing over somebody's work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from testbed.commands.init import FILES
from testbed.data import DATA

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_writes_every_file_that_ships(call_testbed: Cli, tmp_path: Path) -> None:
    done = call_testbed("init", "new/fabric")
    assert (done.returncode, done.stdout) == (0, "")
    assert written(tmp_path / "new" / "fabric") == set(FILES)
    assert {path.name for path in (DATA / "starter").iterdir() if path.is_file()} == set(FILES.values())


def test_the_experiment_and_the_test_pass(call_testbed: Cli, tmp_path: Path) -> None:
    assert call_testbed("init", "fabric").returncode == 0
    assert call_testbed("validate", "--strict", "fabric/lab.yaml").returncode == 0
    ran = call_testbed("run", "fabric/experiment.yaml", "--format", "json")
    assert ran.returncode == 0
    result = json.loads(ran.stdout)
    assert (result["clock"], result["hints"], result["verdict"]["passed"]) == ("virtual", [], True)
    command = [sys.executable, "-m", "pytest", "-q", "fabric"]
    tested = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "3 passed" in tested.stdout


def test_both_workflows_run_what_the_readme_says(call_testbed: Cli, tmp_path: Path) -> None:
    assert call_testbed("init", "fabric").returncode == 0
    yaml = YAML(typ="safe")
    steps = yaml.load(tmp_path / "fabric/.github/workflows/fabric.yml")["jobs"]["fabric"]["steps"]
    github = [step["run"] for step in steps if "run" in step]
    assert github == yaml.load(tmp_path / "fabric/.gitlab-ci.yml")["fabric"]["script"]
    block = (tmp_path / "fabric/README.md").read_text().split("```")[1].splitlines()[1:]
    assert [line.replace(" --strict", "").replace(" --out results", "") for line in github] == block


@pytest.mark.parametrize("present", ["notes.txt", ".hidden"])
def test_a_directory_that_is_not_empty_is_refused(call_testbed: Cli, tmp_path: Path, present: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / present).write_text("mine")
    done = call_testbed("init", "mine")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "testbed: mine is not empty; name another directory, or write into it with --force\n"
    assert written(tmp_path / "mine") == {present}


def test_force_replaces_its_own_files_alone(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("lab.yaml", "notes.txt"):
        (tmp_path / "mine" / name).write_text("mine")
    assert call_testbed("init", "mine", "--force").returncode == 0
    assert (tmp_path / "mine/notes.txt").read_text() == "mine"
    assert (tmp_path / "mine/lab.yaml").read_text() == (DATA / "starter/lab.yaml").read_text()


def test_an_empty_directory_is_taken_and_a_file_is_not(call_testbed: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert call_testbed("init", "empty").returncode == 0
    (tmp_path / "file").write_text("mine")
    for name in ("file", "file/below"):
        done = call_testbed("init", name)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "internal error" not in done.stderr
    assert (tmp_path / "file").read_text() == "mine"
