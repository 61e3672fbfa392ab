"""Reports as a browser shows them: nothing on the console, every picture there, no serious fault of access, at every width."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import Page
from tests.browser.conftest import MODULES

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
WIDTHS = (1440, 800, 400)
STORM = (
    "permutation", "-t", "two-dc:length=1km", "--set", "workload.size=1MiB",
    "--set", "timeline=[{at: 20us, node: b1, storm: {}, for: 300us}]",
    "--set", "lossless.watchdog={detection: 100us, restoration: 100us, poll: 50us}",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where results and reports of this module are."""
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def written(folder: Path, run_testbed: Cli) -> Callable[..., Path]:
    """Return a function that runs `testbed run ARGUMENTS…` once and returns its report."""

    def write(name: str, *arguments: str, verb: str = "run") -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            run_testbed(verb, *arguments, "--out", str(folder / name))
            done = run_testbed("report", str(folder / name), "-o", str(path))
            assert done.returncode == 0, done.stderr
        return path

    return write


def axe(page: Page) -> list[dict[str, Any]]:
    """Return the serious faults that axe-core finds in what is shown."""
    page.evaluate((MODULES / "axe-core" / "axe.min.js").read_text(encoding="utf-8") + "; true")
    found: list[dict[str, Any]] = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations"
        ".filter(each => ['serious', 'critical'].includes(each.impact))"
        ".map(each => ({rule: each.id, nodes: each.nodes.map(node => node.html.slice(0, 200))})))"
    )
    return found


def overflow(page: Page) -> list[str]:
    """Return what stands out over the right edge of the page, though it is in no frame that scrolls."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('#report *')].filter(each => each.getBoundingClientRect().right > innerWidth + 1"
        " && !each.closest('.scroll, pre, svg, .skip')).map(each => each.outerHTML.slice(0, 120))"
    )
    return found


def empty_pictures(page: Page) -> list[str]:
    """Return the pictures that show nothing: without a shape, or without a size."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('svg.picture')].filter(each => {"
        " const box = each.getBoundingClientRect();"
        " return box.width < 20 || box.height < 10 || !each.querySelector('rect, path, circle, line, polyline'); })"
        ".map(each => each.outerHTML.slice(0, 200))"
    )
    return found


def open_all(page: Page) -> None:
    """Open what is folded, and what that holds, and return once it is there."""
    page.wait_for(
        "(() => { const closed = [...document.querySelectorAll('details:not([open])')];"
        " closed.forEach(each => { each.open = true });"
        " return closed.length === 0 && !document.querySelector('details:not([data-filled])'); })()"
    )


def sections(page: Page) -> list[str]:
    found: list[str] = page.evaluate("[...document.querySelectorAll('section > h2')].map(each => each.textContent)")
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_storm_is_shown_without_a_fault(page: Page, written: Callable[..., Path], width: int, dark: bool) -> None:
    page.open(written("storm", *STORM), width, dark=dark)
    assert sections(page)[:2] == ["Verdict", "Topology"]
    open_all(page)
    assert (overflow(page), empty_pictures(page), axe(page), page.faults) == ([], [], [], [])


def test_the_verdict_comes_first_and_says_what_failed(page: Page, written: Callable[..., Path], folder: Path) -> None:
    page.open(written("storm", *STORM))
    run = json.loads((folder / "storm" / "run.json").read_text())
    assert not run["verdict"]["passed"]
    assert page.evaluate("document.querySelector('.badge').textContent") == "FAILED"
    assert (
        page.evaluate("[...document.querySelectorAll('.failing li')].map(each => each.textContent)")
        == run["verdict"]["reasons"]
    )
    assert page.evaluate("document.querySelector('.command code').textContent") == run["replay"]
