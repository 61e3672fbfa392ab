"""The reference pages below docs/ are those that the code makes."""

import itertools
from typing import Any

import pytest
import typer.main

from testbed.cli import app
from testbed.commands.help import summary
from testbed.commands.table import VERBS, Verb
from tests.conftest import ROOT
from tools.docs_nav import on_page_content
from tools.references.contract import PAGE, with_keys
from tools.references.markdown import NOTICE, table
from tools.references.pages import FOLDERS, PICTURE, pages

DOCS = ROOT / "docs"
PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_makes(name: str) -> None:
    path = DOCS / name
    assert path.is_file(), "run `make references`"
    assert path.read_text(encoding="utf-8") == PAGES[name], "run `make references`"


@pytest.mark.parametrize("verb", [*itertools.chain.from_iterable(VERBS.values())], ids=lambda verb: verb.name)
def test_the_table_of_verbs_says_what_their_functions_say(verb: Verb) -> None:
    group: Any = typer.main.get_command(app)
    assert verb.sentence == summary(group.commands[verb.name].help), "testbed/commands/table.py"


def test_no_page_is_left_over() -> None:
    pages = {path.relative_to(DOCS).as_posix() for folder in FOLDERS for path in (DOCS / folder).rglob("*.md")}
    assert pages == PAGES.keys() - {PICTURE}


@pytest.mark.parametrize("name", sorted(PAGES.keys() - {PICTURE}))
def test_prose_is_wrapped(name: str) -> None:
    prose = [line for line in PAGES[name].splitlines() if not line.startswith(("|", "- ["))]
    assert prose[0] == NOTICE
    assert [line for line in prose if len(line) > 100] == []


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("reference/experiment-file.md", "| `limit` | time | `60s` |"),
        ("reference/generators.md", "| `length` | `80km` | text | length of the span |"),
        ("reference/units.md", "| `KB` | 1,000 |"),
        ("reference/units.md", "| `K` | 1,024 |"),
        ("reference/switches.md", "| `thresholds.alpha` | `1/8` | Empowering Azure Storage"),
        ("reference/mqtt.md", "| `testbed/<lab>/<agent>/command` | Request |"),
        ("reference/exit-codes.md", "| `TopologyError` | 2 |"),
    ],
)
def test_a_page_holds_what_the_code_says(name: str, row: str) -> None:
    assert row in PAGES[name]


def test_a_bar_in_a_cell_is_shown_without_what_keeps_it_from_being_a_border() -> None:
    cells, block = "<td><code>yes {0} head -1</code></td><td>a {0} b</td>", "<pre>grep 'a\\|b'</pre>"
    assert on_page_content(cells.format("\\|") + block, page=None) == cells.format("|") + block


def test_a_cell_holds_no_border_of_its_table() -> None:
    assert table(("a",), [("x | y\nz",)]).splitlines()[-1] == "| x \\| y z |"


def test_the_keys_of_the_contract_are_what_the_types_say() -> None:
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    assert with_keys(text) == text, "run `make references`"
    assert "| `lossy_alpha_log2` | integer or null |" in text
    assert "| `window_bytes` | integer | bytes under way at most | yes |" in text
    assert "| `loss_process` | list of ([Bernoulli](#bernoulli) or [GilbertElliott](#gilbertelliott)" in text


def test_a_document_without_a_mark_is_an_error() -> None:
    with pytest.raises(ValueError, match="Statistics"):
        with_keys("<!-- keys: Plan -->\n<!-- end -->\n")
