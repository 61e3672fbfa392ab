"""Every example runs as its README says, with its exit codes, and prints what its expected.txt holds."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from testbed.drawing.picture import svg
from testbed.experiment.file import load_experiment
from testbed.lab.topology import load_lab
from tests.golden_files import check_golden

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))
LINES = 16
Cli = Callable[..., "subprocess.CompletedProcess[str]"]

# First column of a table → those of its columns whose values follow from the files alone. A table that is not here is left out.
ROWS = ("size", "count", "type", "redop", "root", "wrong")
COLUMNS = {
    "source": ("source", "destination", "size"),
    "policy": ("policy", "far", "verdict"),
    "job": ("job", "ranks", "start", "iterations"),
    "size": ("size", "flows"),
    "profile": ("profile", "links", "power"),
    "#": ("#", "length", "span", "loss", "recovery", "up-profile", "lossless", "power", "pJ/bit", "verdict"),
    "link": ("link", "rate", "length", "profile"),
}
WHOLE_LINES = re.compile(r"# (\d+ )?\w+ \(|PASSED:|FAILED:|# Wrong elements|.*: a valid lab")
# Of these the beginning stays, up to what is measured.
BEGINNINGS = re.compile(
    r"(passed|failed) +[\w-]+|  - (deadlock [^,]+|not lossless|expectation failed: .+?(?=: measured))"
)


def commands(readme: str) -> Iterator[tuple[list[str], int]]:
    """Yield each command of the README's shell blocks with the exit code that the comment behind it says, or 0."""
    for block in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL):
        for line in block.splitlines():
            said = re.search(r"# exit code (\d)$", line)
            yield shlex.split(line, comments=True), int(said[1]) if said else 0


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def table(lines: list[str]) -> list[str]:
    """Return the stable columns of the table that begins with `lines`; nothing where its columns are not listed."""
    header = cells(lines[0])
    if not set(COLUMNS.get(header[0], ("",))) & set(header[1:]):
        return []
    chosen = [header.index(name) for name in COLUMNS[header[0]] if name in header]
    body = [cells(line) for line in takewhile(lambda line: len(cells(line)) == len(header), lines)]
    return ["  ".join(row[place] for place in chosen) for row in body]


def sent(line: str) -> list[str]:
    """Return what was sent in a row of nccl-tests, and how many elements were wrong; nothing of any other line."""
    row = line.split()
    if not re.match(r" +\d+ +\d+ +\w+ ", line):
        return []
    return ["  ".join(f"{name} {value}" for name, value in zip(ROWS, (*row[:5], row[8]), strict=True))]


def stable(text: str) -> str:
    """Return what a report says that follows from the files alone, and neither from the machine nor from exact times."""
    lines = text.splitlines()
    kept: list[str] = []
    for place, line in enumerate(lines):
        if WHOLE_LINES.match(line):
            kept.append(line.rstrip())
        elif beginning := BEGINNINGS.match(line):
            kept.append(beginning[0])
        else:
            kept += sent(line) or (table(lines[place:]) if line.strip() else [])
    return "\n".join(kept)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_prints_what_it_says(name: str, call_testbed: Cli, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / name, tmp_path, dirs_exist_ok=True)
    said = list(commands((EXAMPLES / name / "README.md").read_text()))
    assert said
    parts = []
    for number, (command, exit_code) in enumerate(said):
        program, *arguments = command
        assert program == "testbed"
        options = ("--out", f"result-{number}") if arguments[0] in ("run", "sweep", "schedule") else ()
        done = call_testbed(*arguments, *options)
        assert done.returncode == exit_code, f"{command}: {done.stdout}\n{done.stderr}"
        assert "hint" not in done.stderr and "internal error" not in done.stderr
        parts.append(
            f"$ {shlex.join(command)}\n{stable(done.stdout)}\nexit code {done.returncode}\n".replace("\n\n", "\n")
        )
    check_golden(EXAMPLES / name / "expected.txt", "\n".join(parts))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_shows_its_lab(name: str) -> None:
    topology = load_experiment(EXAMPLES / name / "experiment.yaml").topology
    check_golden(EXAMPLES / name / "lab.svg", svg(load_lab(topology), {}))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_whole(name: str) -> None:
    readme = (EXAMPLES / name / "README.md").read_text()
    assert readme.count("\n") <= LINES
    assert "](lab.svg)" in readme and "](expected.txt)" in readme
    assert (EXAMPLES / name / "experiment.yaml").is_file()
    assert f"[{name}]({name}/README.md)" in (EXAMPLES / "README.md").read_text()


def test_every_folder_is_an_example() -> None:
    assert sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()) == NAMES
    assert len(NAMES) >= 8
