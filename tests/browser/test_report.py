"""Reports as a browser shows them: nothing on the console, every picture there, no serious fault of access, at every width."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.report.page.document import Run, Study
from tests.browser import made
from tests.browser.checks import axe, count, empty_pictures, open_all, overflow, texts
from tools.chromium import Page

HOSTILE = "<img src=x onerror='document.title=1'></script><script>document.title=1</script>"
MOST_BYTES = 8_000_000

REPORTS: dict[str, Callable[[Path], Path]] = {
    "storm": lambda path: made.write(path, Run("storm", made.storm())),
    "pauses": lambda path: made.write(path, Run("pauses", made.storm()), change=over_time),
    "flows": lambda path: made.write(path, Run("flows", made.flows())),
    "two": lambda path: made.write(
        path, Run("with", made.incast()), Run("without", made.incast("workload.size=128KiB"))
    ),
    "sweep": lambda path: made.write(path, Study("sweep", made.sweep())),
}


def over_time(document: dict[str, Any]) -> None:
    made.with_pauses(document)
    made.with_series(document)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that writes a report of `REPORTS` once and returns where it is."""
    folder = tmp_path_factory.mktemp("reports")

    def write(name: str) -> Path:
        path = folder / f"{name}.html"
        return path if path.exists() else REPORTS[name](path)

    return write


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 800, 400])
def test_a_report_fits_every_width(page: Page, written: Callable[[str], Path], width: int, dark: bool) -> None:
    page.open(written("pauses"), width, dark=dark)
    open_all(page)
    assert (overflow(page), empty_pictures(page), page.faults) == ([], [], [])


@pytest.mark.parametrize(("name", "width"), [("pauses", 1440), ("two", 1440), ("sweep", 400), ("flows", 800)])
def test_axe_finds_no_serious_fault(page: Page, written: Callable[[str], Path], name: str, width: int) -> None:
    page.open(written(name), width, dark=name in ("sweep", "two"))
    open_all(page)
    assert (axe(page), overflow(page), empty_pictures(page), page.faults) == ([], [], [], [])


@pytest.mark.parametrize(("name", "width"), [("sweep", 1040), ("pauses", 700)], ids=["landscape", "portrait"])
def test_paper_cuts_no_table_off(page: Page, written: Callable[[str], Path], name: str, width: int) -> None:
    """The widths are those of A4 within its margins, in pixels; a table of twelve columns asks for landscape."""
    page.open(written(name), width)
    page.call("Emulation.setEmulatedMedia", media="print")
    beyond = "[...document.querySelectorAll('table')].filter((each) => each.getBoundingClientRect().right > innerWidth)"
    assert page.evaluate(f"{beyond}.map((each) => each.caption.textContent)") == []


def test_settings_are_open_on_paper_alone(page: Page, written: Callable[[str], Path]) -> None:
    page.open(written("pauses"))
    before = texts(page, "#settings details[open] > summary")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    printed = texts(page, "#settings details[open] > summary")
    assert len(printed) > len(before) and any(text.startswith("transport (") for text in printed), printed
    assert not any("run.json" in text for text in printed)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert texts(page, "#settings details[open] > summary") == before


def test_the_sections_stand_in_the_order_in_which_they_are_read(page: Page, written: Callable[[str], Path]) -> None:
    """The verdict leads with what failed, and the command that repeats the run stands with it."""
    page.open(written("pauses"))
    assert texts(page, "section > h2") == [
        "Verdict", "Topology", "Pauses", "Buffers", "Ranks over time", "Flows", "Expectations", "Fidelity", "Ports", "Settings",
    ]  # fmt: skip
    assert texts(page, ".badge") == ["FAILED"]
    assert "1 expectation (drops.lossless == 0)" in texts(page, ".verdict")[0]
    assert "not lossless" in texts(page, ".failing li")[0]
    assert texts(page, ".command code") == ["testbed run permutation"]


def test_fidelity_says_what_was_skipped_and_how_far_figures_are_off(page: Page, tmp_path: Path) -> None:
    page.open(made.write(tmp_path / "fast.html", Run("fast", made.fast())))
    open_all(page)
    (told,) = texts(page, "section#fidelity")
    assert (
        "Under the virtual clock every event happens at its exact time" in told and "paced by this machine" not in told
    )
    assert re.search(r"were skipped: 9\d\.\d % of the frame-hops\. Figures are off by at most 0\.", told)
    assert "event by event: messages began or ended" in told and page.faults == []


def test_a_pause_leads_to_its_root_by_the_keyboard(page: Page, written: Callable[[str], Path]) -> None:
    """Lanes stand in the order of their first pause; an arrow leads to each cause, Enter shows the whole way."""
    page.open(written("pauses"))
    assert texts(page, ".lane-name") == ["leaf-b:eth1 · 3", "border-b:eth1 · 3", "border-a:eth2 · 3", "a1:eth1 · 3"]
    page.evaluate("document.querySelectorAll('.strip')[2].focus()")
    assert "border-a:eth2 priority 3 was paused by border-b:eth2 from 12 µs to the end" in texts(page, ".status")[0]
    assert count(page, ".arrows .arrow") == 2
    page.key("Tab")
    page.key("ArrowRight")
    assert "a1:eth1 priority 3 was paused by leaf-a:eth1 from 24 µs" in texts(page, ".status")[0]
    page.key("Enter")
    way = texts(page, ".tree li")
    assert "a1:eth1" in way[0] and "border-a:eth2" in way[1] and "border-b:eth1" in way[2] and "leaf-b:eth1" in way[3]
    assert texts(page, ".tree .reason")[0] == " Root: slow receiver at b1:eth1."
    assert page.faults == []


def test_the_slider_shows_ports_as_they_were_paused_then(page: Page, written: Callable[[str], Path]) -> None:
    """16 us after the start all four stand still; where the list of pauses ends, the host is between two of its own."""
    page.open(written("pauses"))
    for step, paused in ((15, 4), (240, 3)):
        page.evaluate(
            "(() => { const time = document.querySelector('.controls input[type=range]');"
            f" time.value = {step}; time.dispatchEvent(new Event('input')); }})()"
        )
        assert count(page, ".fabric .ports circle:not(.p0)") == paused
    assert texts(page, ".controls output")[0] == "274.9 µs to 276 µs"


def test_runs_beside_each_other_begin_with_what_differs(page: Page, written: Callable[[str], Path]) -> None:
    page.open(written("two"))
    assert texts(page, "section > h2")[0] == "Differences"
    assert "experiment.workload.size" in texts(page, "#differences tbody th")
    assert texts(page, "#differences caption") == ["Figures that differ", "Settings that differ"]


def test_a_sweep_shows_its_cliff_and_every_row(page: Page, written: Callable[[str], Path]) -> None:
    """Of three lengths and two recoveries at one loss: between 80 and 1000 km one holds no more, and beside it the other does."""
    page.open(written("sweep"))
    assert (count(page, ".heat"), count(page, "line.cliff")) == (6, 2)
    assert count(page, ".line.thin") == 12
    assert texts(page, "#verdict .badge") == ["FAILED"]
    assert "Where each wins" in texts(page, "caption")
    assert {"power", "energy a step", "cost a step"} <= set(texts(page, "#rows thead th"))


def test_distributions_have_a_line_for_each_class(page: Page, written: Callable[[str], Path]) -> None:
    page.open(written("flows"))
    assert texts(page, "#flows .plot")[0] and count(page, "#flows .plot") == 2
    assert count(page, "#flows .plot path.line") == 6


def test_names_of_a_run_run_nothing(page: Page, tmp_path: Path) -> None:
    run = made.incast()
    hostile = run.model_copy(update={"lab": HOSTILE, "replay": HOSTILE, "qps": []})
    page.open(made.write(tmp_path / "hostile.html", Run(HOSTILE, hostile)))
    assert page.evaluate("document.title") == f"incast on {HOSTILE}"
    assert HOSTILE in texts(page, ".command code")[0] and count(page, "img") == 0


def test_a_run_of_1024_hosts_opens_and_is_small(page: Page, tmp_path: Path) -> None:
    path = made.write(tmp_path / "many.html", Run("many", made.many_hosts(1024)))
    assert path.stat().st_size < MOST_BYTES
    page.open(path)
    assert count(page, ".fabric .node") == 1024 + 32 + 8
    assert page.faults == []
