"""Completion as bash, zsh and fish ask for it: the shell's words in the environment, its answers on standard output."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import topologies, traffic
from testbed.agent.ledger import Ledger
from testbed.bus.messages import DeployBody
from testbed.commands.completion import behind_breaks, whole_words
from testbed.commands.table import VERBS
from testbed.experiment.file import new_experiment
from testbed.lab.topology import load_lab
from testbed.optics.catalogue import load_catalogue
from testbed.plan.compile import compile_fabric
from tests.conftest import ROOT

Ask = Callable[[str], list[str]]
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[[str], Ask]:
    """Return a function that makes, for a shell, one that returns what it would offer behind a line."""
    from testbed.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["testbed"])
    monkeypatch.setattr("signal.signal", lambda number, handler: None)

    def made(shell: str) -> Ask:
        def offered(line: str) -> list[str]:
            monkeypatch.setenv("_TESTBED_COMPLETE", f"complete_{shell}")
            monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
            monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
            words = apart(line)
            monkeypatch.setenv("COMP_WORDS", "\n".join(words))
            monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
            capsys.readouterr()
            with pytest.raises(SystemExit) as ending:
                main()
            assert ending.value.code == 0
            return READ[shell](capsys.readouterr().out)

        return offered

    return made


def apart(line: str) -> list[str]:
    """Take a line apart as bash does, which makes words of their own of colons and equals signs."""
    words: list[str] = []
    for word in line.split(" "):
        lexer = shlex.shlex(word, punctuation_chars=":=")
        lexer.whitespace_split = True
        words += list(lexer) or [""]
    return words


def read_zsh(output: str) -> list[str]:
    """Read what zsh evaluates: one call of _arguments with values and descriptions, or _files where there are none."""
    text = output.strip()
    if text == "_files":
        return []
    return [line.partition('":"')[0].strip('"').replace("\\\\:", ":") for line in text[19:-3].splitlines()]


READ: dict[str, Callable[[str], list[str]]] = {
    "bash": str.splitlines,
    "zsh": read_zsh,
    "fish": lambda output: [line.partition("\t")[0] for line in output.splitlines() if line],
}


def behind(shell: str, line: str, words: set[str]) -> set[str]:
    """Return words as a shell needs them: bash replaces what stands behind the last colon or equals sign."""
    last = line.rpartition(" ")[2]
    last = last.removeprefix("--topology=")
    head = max(last.rfind(":"), last.rfind("=")) + 1
    return {word[head:] for word in words} if shell == "bash" else words


@pytest.mark.parametrize("shell", SHELLS)
def test_verbs_and_options(ask: Callable[[str], Ask], shell: str) -> None:
    offered = ask(shell)
    assert set(offered("testbed ")) == {verb.name for verbs in VERBS.values() for verb in verbs}
    assert offered("testbed conf") == ["conformance"]
    assert set(offered("testbed impair ")) == {"set", "show", "reset"}
    assert {"--topology", "--set", "--pcap", "--cores"} <= set(offered("testbed run --"))
    assert offered("testbed run --clock v") == ["virtual"]


@pytest.mark.parametrize("shell", SHELLS)
def test_topologies_with_their_parameters_and_files(ask: Callable[[str], Ask], shell: str, tmp_path: Path) -> None:
    for name in ("mine.yaml", "notes.txt", "two words.yaml"):
        (tmp_path / name).write_text("")
    known = {*topologies.generators(), *topologies.files()}
    assert set(ask(shell)("testbed run -t ")) == known | {"mine.yaml"}
    assert set(ask(shell)("testbed deploy ")) == known | {"mine.yaml"}
    line = "testbed run -t two-dc:hosts=4,l"
    named = {f"two-dc:hosts=4,{key}=" for key in ("length", "loss", "local", "local-profile")}
    assert set(ask(shell)(line)) == behind(shell, line, named)
    line = "testbed run --topology=two-dc:profile=400g-z"
    zr = {f"two-dc:profile={name}" for name in load_catalogue().profiles if name.startswith("400g-z")}
    assert zr and set(ask(shell)(line)) == behind(shell, line, zr)


@pytest.mark.parametrize("shell", SHELLS)
def test_collectives_profiles_settings_and_keys(ask: Callable[[str], Ask], shell: str) -> None:
    offered = ask(shell)
    assert set(offered("testbed run ")) == {*traffic.COLLECTIVES, *topologies.experiments()}
    assert offered("testbed sweep all_r") == ["all_reduce"]
    assert set(offered("testbed profiles ")) == set(load_catalogue().profiles)
    assert set(offered("testbed link 100g-d")) == {p for p in load_catalogue().profiles if p.startswith("100g-d")}
    assert offered("testbed list switches spec") == ["spectrum", "spectrum-4"]
    assert "lossless.xoff=" in offered("testbed run all_reduce --set lossless.x")
    assert offered("testbed explain lossless.headr") == ["lossless.headroom"]
    assert "topology.links.length" in offered("testbed explain topology.links.l")


@pytest.mark.parametrize("shell", SHELLS)
def test_policies_are_offered_behind_commas_and_pluses(ask: Callable[[str], Ask], shell: str) -> None:
    offered = ask(shell)
    assert {"packed", "by-rail", "interleaved"} <= set(offered("testbed schedule jobs.yaml --policy "))
    assert offered("testbed schedule jobs.yaml --policy packed,spread+int") == ["packed,spread+interleaved"]
    assert offered("testbed list policies ran") == ["random"]


@pytest.mark.parametrize("shell", SHELLS)
def test_labs_and_their_nodes_and_ports(
    ask: Callable[[str], Ask], shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_STATE_DIR", str(tmp_path / "state"))
    assert ask(shell)("testbed inspect --name ") == []
    plan = compile_fabric(load_lab("two-dc:name=metro"), new_experiment("two-dc", "all_reduce"))
    Ledger(tmp_path / "state").write("metro", DeployBody(plan=plan, dilation=1))
    assert ask(shell)("testbed inspect --name ") == ["metro"]
    assert ask(shell)("testbed exec --name metro leaf") == ["leaf-a", "leaf-b"]
    line = "testbed capture --name metro border-a:e"
    assert set(ask(shell)(line)) == behind(shell, line, {"border-a:eth1", "border-a:eth2"})
    line = "testbed impair set --name metro leaf-a:"
    assert set(ask(shell)(line)) == behind(shell, line, {f"leaf-a:eth{number}" for number in (1, 2, 3)})


@pytest.mark.parametrize("shell", SHELLS)
def test_ports_of_a_lab_that_is_named_with_t(ask: Callable[[str], Ask], shell: str) -> None:
    line = "testbed headroom -t two-dc:hosts=1 --port border-b:"
    assert set(ask(shell)(line)) == behind(shell, line, {"border-b:eth1", "border-b:eth2"})
    assert set(ask(shell)("testbed conformance -t two-dc --switch border-")) == {"border-a", "border-b"}


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_wrong_offers_nothing(ask: Callable[[str], Ask], shell: str) -> None:
    for line in ("headroom -t nowhere --port ", "run -t no/such/folder/", "capture --name gone a1:", "list nothing "):
        assert ask(shell)(f"testbed {line}") == []


def test_bash_sets_no_space_behind_a_word_that_goes_on(ask: Callable[[str], Ask]) -> None:
    assert ask("bash")("testbed run -t two-dc:hos") == ["hosts=", "hosts=…"]
    assert ask("bash")("testbed run all_reduce --set lossless.respo") == ["lossless.response=", "lossless.response=…"]


def test_words_that_bash_took_apart_are_whole_again() -> None:
    words = ["testbed", "run", "-t", "two-dc", ":", "hosts", "=", "4,le"]
    assert whole_words(words, 7) == (["testbed", "run", "-t", "two-dc:hosts=4,le"], 3)
    assert whole_words(["testbed", "run", "-t", "two-dc", ":", ""], 5) == (["testbed", "run", "-t", "two-dc:", ""], 4)
    assert whole_words(["testbed", "run", ""], 2) == (["testbed", "run", ""], 2)
    assert behind_breaks("--topology=two-dc:l", ["two-dc:length=", "two-dc:loss="]) == ["length=", "loss="]


def test_completion_opens_no_data_plane_and_asks_no_agent(tmp_path: Path) -> None:
    """In a process of its own, whose imports are its own."""
    code = (
        "import sys, atexit\n"
        "heavy = ('testbed._dataplane', 'pyroute2', 'amqtt', 'docker', 'testbed.control.verbs', 'testbed.drivers.netns')\n"
        "atexit.register(lambda: print('heavy', [name for name in heavy if name in sys.modules], file=sys.stderr))\n"
        "sys.argv = ['testbed']\n"
        "from testbed.start import main\n"
        "sys.exit(main())\n"
    )
    for line in ("testbed capture --name metro a", "testbed run -t two-dc:l"):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TESTBED_STATE_DIR": str(tmp_path),
            "_TESTBED_COMPLETE": "complete_fish",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "_TYPER_COMPLETE_ARGS": line,
        }
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
        assert done.stderr == "heavy []\n" and done.returncode == 0


def test_bash_itself_completes_a_line(tmp_path: Path) -> None:
    """With the script that `--show-completion` prints, and the words that bash makes of a line."""
    command = tmp_path / "testbed"
    command.write_text(
        f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "
        '\'import sys; sys.argv[0] = "testbed"; from testbed.start import main; sys.exit(main())\' "$@"\n'
    )
    command.chmod(0o755)
    script = tmp_path / "script.bash"
    script.write_text(
        'eval "$(_TESTBED_COMPLETE=source_bash testbed)"\n'
        "COMP_WORDS=(testbed run -t two-dc : hosts = 4,len); COMP_CWORD=7\n"
        "_testbed_completion testbed len 4,\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("4,length=\n4,length=…\n", "")
