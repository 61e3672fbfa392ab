"""The bundle that ships is what its sources make, and its types hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

WEB_S = 60
BUNDLE = ("dashboard.css", "dashboard.js", "report.css", "report.js")


def test_the_bundle_is_made_of_its_sources(repo_root: Path, tmp_path: Path) -> None:
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=repo_root / "web", check=True, timeout=WEB_S)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    shipped = {name: (repo_root / "testbed" / "data" / name).read_text(encoding="utf-8") for name in made}
    assert set(made) == set(BUNDLE)
    assert [name for name in made if made[name] != shipped[name]] == [], "run `make web`"


@pytest.mark.parametrize("name", BUNDLE)
def test_the_bundle_ends_no_element_of_its_page(repo_root: Path, name: str) -> None:
    text = (repo_root / "testbed" / "data" / name).read_text(encoding="utf-8").lower()
    assert "</script" not in text and "</style" not in text and "<!--" not in text
