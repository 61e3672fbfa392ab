"""Every block of README and of docs/, copied in order into an empty directory, ends as its page says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.errors import TestbedError
from testbed.run import perform
from testbed.study import campaign, search, sweep
from tests.conftest import ROOT
from tests.documents import MARKS, Block, blocks, pages

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
PAGES = {path.relative_to(ROOT).as_posix(): blocks(path) for path in pages()}
RUN = {
    name: page_blocks
    for name, page_blocks in PAGES.items()
    if any(not block.mark.startswith(("needs", "not")) for block in page_blocks)
}
MOST_NOT_RUN = 20
# Verbs that compute and touch nothing of the machine: all others need a mark, and run where a test has a machine of its own.
HARMLESS = (
    "run",
    "replay",
    "report",
    "dashboard",
    "sweep",
    "search",
    "schedule",
    "campaign",
    "graph",
    "import",
    "export",
    "validate",
    "explain",
    "schema",
    "list",
    "profiles",
    "link",
    "conformance",
    "headroom",
    "init",
)

pytestmark = pytest.mark.timeout(300)


class Started(TestbedError):
    """A command came to its first frame, which ends it with an exit code of its own."""

    exit_code = 77


def to_the_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """End whatever would run when it would begin to."""
    from testbed.conformance import suite

    def start(*_: object, **__: object) -> None:
        raise Started

    for owner, name in (
        (perform, "run_virtual"),
        (sweep, "run"),
        (search, "bisect"),
        (suite.Suite, "run"),
        (campaign, "run"),
    ):
        monkeypatch.setattr(owner, name, start)


@pytest.mark.parametrize("name", RUN)
def test_the_blocks_of_a_page_end_as_it_says(
    call_testbed: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for block in RUN[name]:
        if block.mark.startswith(("needs", "not run")):
            continue
        if block.language == "yaml":
            assert block.title, f"{name}: a YAML block has a title, the file that it is:\n{block.text}"
        if block.title:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, name, "exec"), {})
        if block.language == "sh":
            with monkeypatch.context() as patched:
                if block.mark:
                    to_the_first_frame(patched)
                run(call_testbed, block, tmp_path)


def run(call_testbed: Cli, block: Block, place: Path) -> None:
    """Run the commands of a block: one after the other, each as it stands."""
    for command, code in block.commands():
        words = shlex.split(command)
        if words[:3] == ["python", "-m", "pytest"]:
            assert subprocess.run([sys.executable, *words[1:]], cwd=place, check=False).returncode == code, command
            continue
        assert words[0] == "testbed" and words[1] in HARMLESS, f"{block.page}: {command}: says no mark how it is run?"
        assert not {"real", "auto"} & set(words), f"{block.page}: {command}: the real clock needs a mark"
        done = call_testbed(*words[1:])
        assert done.returncode == (Started.exit_code if block.mark else code), f"{command}\n{done.stdout}{done.stderr}"
        if block.page == "README.md":
            assert not re.search(r"^note: [a-z.-]+: ", done.stderr, re.M), f"{command}: no effect: {done.stderr}"


def test_marks_are_known_and_few() -> None:
    marks = [(block.page, block.mark) for page_blocks in PAGES.values() for block in page_blocks if block.mark]
    assert [mark for mark in marks if not mark[1].startswith(MARKS)] == []
    assert len([mark for _, mark in marks if mark.startswith("not run")]) <= MOST_NOT_RUN


def test_a_file_that_is_written_is_used() -> None:
    for name, page_blocks in PAGES.items():
        for block in page_blocks:
            others = " ".join(other.text for other in page_blocks if other is not block)
            assert not block.title or block.language != "yaml" or block.title in others, f"{name}: {block.title}"


# The page of validation is made by `make validation`, tables for the most part.
@pytest.mark.parametrize("name", sorted(PAGES.keys() - {"docs/validation.md"}))
def test_prose_is_wrapped(name: str) -> None:
    fenced, long = False, []
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        if len(line) > 100 and not fenced and not line.startswith(("|", "- [")):
            long.append(line)
    assert long == []


def test_readme_and_architecture_are_short() -> None:
    lines = {name: (ROOT / name).read_text(encoding="utf-8").count("\n") for name in ("README.md", "ARCHITECTURE.md")}
    assert lines["README.md"] <= 120 and lines["ARCHITECTURE.md"] <= 150
