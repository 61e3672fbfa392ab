"""The page says what rows found, tells a row that is off, and comes out the same each time."""

import dataclasses
from pathlib import Path

import pytest

from validation import page, plots
from validation.__main__ import DOCS, write
from validation.case import Case, Measured, Quantity, Row, Topic
from validation.topics import TOPICS

TOPIC = Topic(
    name="sample",
    title="A sample: two halves",
    text="Halves of things.",
    source="arithmetic",
    axes=("thing",),
    quantities=(
        Quantity("half", "half, MB", 0.02, scale=1e-6),
        Quantity("frames", "frames", 2, absolute=True, digits=0),
    ),
    cases=(Case(("four",), 4_000_000), Case(("six",), 6_000_000, source="a paper", held=False)),
    expect=lambda thing: {"half": thing / 2, "frames": 10},
    measure=lambda thing: Measured({"half": thing / 2 * 1.019, "frames": 12}, {"half": 0.001}),
)


def rows(topic: Topic = TOPIC) -> dict[str, list[Row]]:
    return {topic.name: [topic.row(case) for case in topic.cases]}


def test_the_page_shows_measured_beside_expected() -> None:
    text = page.render(rows(), {"sample": "validation/sample.svg"})
    assert "| four | 2.000 | 2.038 | +1.90 % ± 0.10 % | 10 | 12 | +2 | arithmetic |\n" in text
    assert "| *six* | *3.000* | *3.057* | *+1.90 % ± 0.10 %* | *10* | *12* | *+2* | *a paper* |\n" in text
    assert "| [A sample: two halves](#a-sample-two-halves) | half, MB | 1 | +1.90 % | ± 2.00 % | arithmetic |\n" in text
    assert "![A sample: two halves](validation/sample.svg)" in text


@pytest.mark.parametrize("figure", [2_041_000, 1_959_000, float("nan")])
def test_a_figure_that_is_off_is_a_fault(figure: float) -> None:
    measured = Measured({"half": figure, "frames": 13})
    expected = TOPIC.expect(4_000_000)
    faults = Row(TOPIC, TOPIC.cases[0], expected, measured).faults()
    assert len(faults) == 2 and faults[0].startswith("sample, four: half, MB is")
    assert not Row(TOPIC, TOPIC.cases[1], expected, measured).faults()


def test_figures_that_were_not_measured_are_an_error() -> None:
    row = Row(TOPIC, TOPIC.cases[0], TOPIC.expect(4_000_000), Measured({"half": 2_000_000}))
    with pytest.raises(KeyError):
        row.faults()


def test_the_committed_page_has_every_topic() -> None:
    text = (DOCS / "validation.md").read_text(encoding="utf-8")
    for topic in TOPICS:
        assert f"## {topic.title}\n" in text
        for case in topic.cases:
            labels = [f"*{label}*" if not case.held else label for label in case.labels]
            assert f"| {' | '.join(labels)} |" in text
    assert {path.stem for path in (DOCS / "validation").iterdir()} == set(plots.PLOTS)


def test_writing_twice_makes_the_same_bytes(tmp_path: Path) -> None:
    (topic,) = (topic for topic in TOPICS if topic.name == "bifrost")
    case = next(case for case in topic.cases if case.quick)
    rows = {topic.name: [topic.row(case)]}
    for folder in ("one", "two"):
        write(rows, tmp_path / folder)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).rglob("*") if path.is_file()}
        for folder in ("one", "two")
    )
    assert first == second and first.keys() == {"validation.md", "bifrost.svg"}


def test_what_was_left_out_stays_as_the_page_had_it(tmp_path: Path) -> None:
    other = dataclasses.replace(TOPIC, name="other", title="Another: three thirds")
    write({**rows(), **rows(other)}, tmp_path)
    first = (tmp_path / "validation.md").read_bytes()
    write(rows(), tmp_path, [other])
    assert (tmp_path / "validation.md").read_bytes() == first
    write(rows(other), tmp_path, [TOPIC])
    assert set((tmp_path / "validation.md").read_bytes().splitlines()) == set(first.splitlines())
