"""README word for word: its labs are valid, and its commands are accepted as they stand up to their first frame."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.errors import TestbedError
from testbed.run import trial
from testbed.study import sweep
from tests.conftest import ROOT

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

# What follows from a page of its own, or needs a lab that is up.
ELSEWHERE = (
    "deploy",
    "wait-for",
    "exec",
    "cancel",
    "capture",
    "impair",
    "save",
    "destroy",
    "images",
    "broker",
    "--broker",
    "campaign",
)


class Started(TestbedError):
    """A command came to its first frame, which ends it with an exit code of its own."""

    exit_code = 77


def blocks() -> list[str]:
    """Return the indented blocks of README, without their indentation."""
    found = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    return ["\n".join(line[4:] for line in block.splitlines()).strip("\n") for block in found]


def labs() -> dict[str, str]:
    """Return the labs of README by name: each begins with it and goes on until the first command."""
    starts = [(re.match(r"name: ([\w-]+)\n", block), block) for block in blocks()]
    return {name[1]: re.split(r"\n\n(?=testbed )", block)[0] + "\n" for name, block in starts if name}


def commands() -> list[str]:
    """Return the commands of README that need no lab that is up, comments left out."""
    lines = [line.strip() for block in blocks() for line in block.replace("\\\n", "").splitlines()]
    found = [re.sub(r"\s+#.*", "", line) for line in lines if line.startswith("testbed ")]
    return [line for line in found if line.split()[1] not in ELSEWHERE]


@pytest.fixture
def beside_the_labs(tmp_path: Path) -> Path:
    """Write README's labs where commands run."""
    for name, text in labs().items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", labs())
def test_a_lab_is_valid(call_testbed: Cli, beside_the_labs: Path, name: str) -> None:
    done = call_testbed("validate", f"{name}.yaml")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", commands())
def test_a_command_comes_to_its_first_frame(
    call_testbed: Cli, beside_the_labs: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    from testbed.conformance import suite

    def start(*_: object, **__: object) -> None:
        raise Started

    monkeypatch.setattr(trial, "run_virtual", start)
    monkeypatch.setattr(sweep, "run", start)
    monkeypatch.setattr(suite.Suite, "run", start)
    arguments = shlex.split(command)[1:]
    runs = arguments[0] in ("run", "sweep") or (arguments[0] == "conformance" and "--list" not in arguments)
    done = call_testbed(*arguments)
    assert done.returncode == (Started.exit_code if runs else 0), done.stderr
