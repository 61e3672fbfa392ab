"""The table of benchmarks: figures beside the last release's and beside rivals, and the file that keeps them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from rich.console import Console

from bench import BenchError, chain, history, mininet, table
from bench.table import Row, figures, render

MACHINE = {"cpu": "EPYC", "cores": 2, "kernel": "6.18", "load_average": (0.0, 0.0, 0.0)}
CHAIN = {"nodes": 16, "rounds": 3, "hops_per_s": 6e6}
NS3 = {"name": "ns-3", "hops_per_s": 2e5}


def document(rival: dict[str, Any]) -> dict[str, Any]:
    """Return a document of a chain alone."""
    return {"machine": MACHINE, "chain": {**CHAIN, "rival": rival}}


def printed(document: dict[str, Any], last: history.Release | None) -> str:
    """Return the table of a document that has some sections alone."""
    output = io.StringIO()
    sections = {name: rows for name, rows in table.SECTIONS.items() if name in document}
    with mock.patch.object(table, "SECTIONS", sections):
        Console(file=output, width=240).print(render(document, last))
    return output.getvalue()


def release(**changed: Any) -> dict[str, Any]:
    """Return an entry of the history with keys changed; None leaves a key out."""
    entry = {
        "version": "0.2.0",
        "commit": "abc",
        "cpu": "EPYC",
        "cores": 2,
        "kernel": "6.18",
        "figures": {"chain": 4e6},
    }
    return {key: value for key, value in {**entry, **changed}.items() if value is not None}


def test_a_figure_stands_beside_the_last_release_and_the_rival() -> None:
    text = printed(document(NS3), history.Release(**release()))
    assert "6.00 M" in text and "1.50" in text and "ns-3: 0.20 M" in text
    assert "last release: 0.2.0, commit abc, on EPYC, 2 cores, Linux 6.18" in text


def test_a_rival_that_is_not_installed_says_how_to_install_it() -> None:
    text = printed(document({"install": chain.INSTALL}), None)
    assert "pip install --no-deps ns3" in text and "last release: none recorded" in text
    grid = {"nodes": 100, "links": 180, "rounds": 1, "rival": {"install": mininet.INSTALL}}
    grid |= {f"{verb}seconds_100_nodes{most}": 0.5 for verb in ("", "destroy_") for most in ("", "_max")}
    assert printed({"machine": MACHINE, "deploy": grid}, None).count("apt-get install mininet") == 2


def test_what_is_recorded_is_read_again_behind_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert history.read(path) == []
    kept = {"machine": MACHINE, "chain": {**CHAIN, "rival": NS3}, "virtual": {"error": "left out"}}
    sections = {name: table.SECTIONS[name] for name in ("chain", "virtual")}
    with mock.patch.object(table, "SECTIONS", sections):
        values = figures(kept)
    assert values == {"chain": 6e6}
    history.append(MACHINE, values, path)
    history.append(MACHINE, {"chain": 7e6, "nothing": 0.0}, path)
    assert [each.figures for each in history.read(path)] == [{"chain": 6e6}, {"chain": 7e6}]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "not JSON"),
        ("[1]", "not an object"),
        (json.dumps(release(commit=None)), "commit: missing, or not text"),
        (json.dumps(release(cores="2")), "cores: missing, or not a whole number"),
        (json.dumps(release(figures={"chain": "fast"})), r"figures\.chain: not a number above 0"),
        (json.dumps(release(figures={"chain": 0})), r"figures\.chain: not a number above 0"),
        (json.dumps(release(speed=1)), "speed: unknown key"),
    ],
)
def test_a_bad_line_of_the_history_is_named(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(f"{json.dumps(release())}\n{line}\n")
    with pytest.raises(BenchError, match=f"history.jsonl:2: {fault}"):
        history.read(path)
    with pytest.raises(BenchError):
        history.append(MACHINE, {"chain": 1.0}, path)
    assert len(path.read_text().splitlines()) == 2


def test_the_rows_of_a_section_have_keys_of_their_own() -> None:
    rows = [Row("a", "1", "", None, "", value=1.0), Row("b", "2", "", None, ""), Row("c", "3", "", None, "", value=3.0)]
    with mock.patch.object(table, "SECTIONS", {"each": lambda _: rows}):
        assert figures({"each": {}}) == {"each": 1.0, "each.2": 3.0}


def test_the_history_of_this_checkout_is_sound() -> None:
    assert all(each.figures for each in history.read())
