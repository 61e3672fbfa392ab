"""Captures of runs go into files of the agent's own; no path comes from the bus."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, cast

import pytest

from testbed.agent import captures
from testbed.agent.captures import Captures
from testbed.agent.lab import Document
from testbed.agent.owner import LabOwner
from testbed.bus import client, messages, verbs
from testbed.errors import HostError, UsageError
from tests.unit.agent.bus_world import PLAN, MemoryDriver, MemoryFabric, World, bus_test, deploy, execute


class CapturingFabric(MemoryFabric):
    """A data plane that writes a word into the file that it is given."""

    def capture(self, path: str | None) -> None:
        if path is not None:
            Path(path).write_text("frames")


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


@bus_test
async def test_a_path_on_the_bus_is_refused_and_its_file_is_left_alone(w: World) -> None:
    victim = Path(str(w.address.socket)).with_name("victim")
    victim.write_text("secret")
    victim.chmod(0o400)
    async with client.connect(w.address, "local") as caller:
        await deploy(caller)
        for name in ("pcap", "capture"):
            body = {"lab": "tiny", "spec": {"steps": 1}, name: str(victim)}
            with pytest.raises(UsageError, match=name):
                await caller.request(verbs.RUN, body, lab="tiny")
    assert victim.read_text() == "secret"


def test_a_capture_is_written_into_the_agents_directory_and_fetched(tmp_path: Path) -> None:
    labs = LabOwner(
        cast(Any, MemoryDriver()),
        lambda *_: cast(Any, CapturingFabric()),
        execute,
        captures=Captures(tmp_path),
    )
    labs.deploy(messages.DeployBody(plan=PLAN, dilation=1))
    told: list[Document] = []
    labs.run(messages.RunBody(lab="tiny", spec={"steps": 1}, capture=True), told.append)
    step = messages.decode_step(told[0])
    assert isinstance(step, messages.CaptureStep)
    (made,) = files(captures.folder(tmp_path))
    assert (made.name, stat.S_IMODE(made.stat().st_mode)) == (step.capture, 0o600)
    captures.fetch(tmp_path, step.capture, tmp_path / "mine.pcapng")
    assert (tmp_path / "mine.pcapng").read_text() == "frames"
    assert not captures.folder(tmp_path).exists()


@pytest.mark.parametrize("name", ["../agent.json", "/etc/passwd", "a/b.pcapng", ".pcapng", "agent.json", ""])
def test_only_captures_are_fetched(tmp_path: Path, name: str) -> None:
    with pytest.raises(HostError, match="not the name of a capture"):
        captures.fetch(tmp_path, name, tmp_path / "here")
    assert files(tmp_path) == []


def test_a_directory_that_is_not_the_agents_own_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    captures.folder(tmp_path).symlink_to(elsewhere)
    with pytest.raises(HostError, match="mode 0700"):
        Captures(tmp_path).make("tiny")
    captures.folder(tmp_path).unlink()
    captures.folder(tmp_path).mkdir()
    captures.folder(tmp_path).chmod(0o755)
    with pytest.raises(HostError, match="mode 0700"):
        Captures(tmp_path).make("tiny")
    assert files(elsewhere) == []


def test_captures_that_nobody_fetches_make_room(tmp_path: Path) -> None:
    kept = Captures(tmp_path)
    made = []
    for number in range(captures.KEPT + 3):
        made.append(kept.make("tiny"))
        os.utime(made[-1], ns=(number, number))
    assert files(captures.folder(tmp_path)) == sorted(made[3:])
    captures.clear(tmp_path)
    assert files(tmp_path) == []


def test_what_cannot_be_written_is_reported_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        captures.require_writable(tmp_path / "absent" / "x.pcapng")


def test_the_agent_of_a_state_in_memory_captures_onto_a_disk() -> None:
    assert captures.folder(Path("/run/testbed")) == Path("/var/lib/testbed/captures")
    assert captures.folder(Path("/srv/state")) == Path("/srv/state/captures")


def test_a_step_names_no_path() -> None:
    assert messages.decode_step({"capture": "../../etc/shadow"}) is None
