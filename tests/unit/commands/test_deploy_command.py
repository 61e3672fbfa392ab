"""What `testbed deploy` says of a lab that it changed."""

from __future__ import annotations

import pytest

from testbed.commands import deploy
from testbed.commands.common import Format

ANSWER = {
    "lab": "two-dc",
    "changed": True,
    "changes": [],
    "lost": [
        {"port": None, "cause": "not arrived in time", "frames": 3},
        {"port": "a1:eth1", "cause": "not sent before its link changed", "frames": 1},
    ],
}


def test_lost_frames_are_reported_with_their_place_and_cause(capsys: pytest.CaptureFixture[str]) -> None:
    deploy._print_answer(ANSWER, Format.table, "is up")
    assert capsys.readouterr().out.splitlines() == [
        "lab two-dc is up",
        "frames lost: 3 (not arrived in time)",
        "frames lost at a1:eth1: 1 (not sent before its link changed)",
    ]
