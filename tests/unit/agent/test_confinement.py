"""What containers may have of an agent's machine where others command it: what the agent's own environment names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.agent.confinement import require_allowed
from testbed.errors import UsageError
from testbed.lab.trust import BINDS, CAPABILITIES

NOTHING: dict[str, Any] = {"binds": [], "startup_config": None, "cap_add": []}


def plan_of(**setup: Any) -> Any:
    return {"nodes": [{"name": "s"}, {"name": "a", "container": {"setup": NOTHING | setup}}]}


def test_files_and_powers_are_refused_until_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BINDS, raising=False)
    monkeypatch.delenv(CAPABILITIES, raising=False)
    (tmp_path / "link").symlink_to("/etc")
    bind = {"source": str(tmp_path / "x"), "target": "/x", "read_only": False}
    require_allowed(plan_of(cap_add=["NET_ADMIN"]), "m1")
    asked = (plan_of(binds=[bind]), plan_of(startup_config=bind["source"]), plan_of(cap_add=["SYS_ADMIN"]))
    for plan, variable in zip(asked, (BINDS, BINDS, CAPABILITIES), strict=True):
        with pytest.raises(UsageError, match=rf"node a: .* {variable} .*at agent m1"):
            require_allowed(plan, "m1")
    monkeypatch.setenv(BINDS, str(tmp_path))
    monkeypatch.setenv(CAPABILITIES, "CAP_SYS_ADMIN")
    for plan in asked:
        require_allowed(plan, "m1")
    with pytest.raises(UsageError, match="link/passwd is not below"):
        require_allowed(plan_of(startup_config=str(tmp_path / "link" / "passwd")), "m1")


def test_what_is_elsewhere_is_for_another_agent_to_refuse() -> None:
    plan = plan_of(startup_config="/etc/passwd")
    plan["nodes"][1]["elsewhere"] = True
    require_allowed(plan, "m1")
