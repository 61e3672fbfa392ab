"""What a sweep varies: read from options and files, put together, every combination once and in order."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import ExperimentError, UsageError
from testbed.experiment.axes import MAX_COMBINATIONS, Axis, as_text, combinations, merge, read_axis, short_names
from testbed.experiment.file import experiment_from
from testbed.lab.topology import with_parameters
from testbed.schema.source import parse_yaml

SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{2,8}[0-9]km", fullmatch=True)


@settings(max_examples=50)
@given(SCALARS | NAMES | st.lists(NAMES) | st.dictionaries(NAMES, st.integers()))
def test_the_text_of_a_value_reads_as_the_value(value: Any) -> None:
    assert parse_yaml(as_text(value), "text", ExperimentError).data == value


@pytest.mark.parametrize(
    ("value", "text"), [(1e-6, "1e-6"), (0.0001, "1e-4"), (2.5e-7, "2.5e-7"), (0.5, "0.5"), (0, "0"), (True, "true")]
)
def test_numbers_are_written_as_people_do(value: object, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("transport.mtu=1024,4096", ("1024", "4096")),
        ("workload.ranks=[a1,b1],[b1, a1]", ("[a1,b1]", "[b1, a1]")),
        (
            "lossless.ecn=sonic,{kmin: 1KB, kmax: 2KB, pmax: 1%},null",
            ("sonic", "{kmin: 1KB, kmax: 2KB, pmax: 1%}", "null"),
        ),
        ("topology=\"two-dc:hosts=4,length=1km\",'pair'", ('"two-dc:hosts=4,length=1km"', "'pair'")),
        ("seed = 1 , 2", ("1", "2")),
    ],
)
def test_values_are_parted_by_their_own_commas(text: str, values: tuple[str, ...]) -> None:
    assert read_axis(text).values == values


@pytest.mark.parametrize("text", ["transport.mtu", "=1,2", "transport.mtu=", "transport.mtu=1,,2", "transport.mtu=1,1"])
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--over"):
        read_axis(text)


def test_combinations_come_in_order_and_not_without_end() -> None:
    assert list(combinations([Axis("a", ("1", "2")), Axis("b", ("x", "y"))])) == [
        (("a", "1"), ("b", "x")),
        (("a", "1"), ("b", "y")),
        (("a", "2"), ("b", "x")),
        (("a", "2"), ("b", "y")),
    ]
    many = Axis("seed", tuple(map(str, range(101))))
    with pytest.raises(UsageError, match=f"10,201 combinations are more than {MAX_COMBINATIONS:,}"):
        next(combinations([many, Axis("transport.retries", many.values)]))


def test_options_replace_axes_of_the_file_and_settings_end_them() -> None:
    written = [Axis("a", ("1", "2")), Axis("b", ("x",)), Axis("c", ("y",))]
    changed = [Axis("b", ("z",)), Axis("d", ("w",))]
    assert merge(written, changed, ["c"]) == [Axis("a", ("1", "2")), Axis("b", ("z",)), Axis("d", ("w",))]
    with pytest.raises(UsageError, match="--over d is given twice"):
        merge(written, [changed[1], changed[1]], [])


def test_names_are_short_where_that_is_clear() -> None:
    assert list(short_names(["topology.length", "transport.mtu", "topology.mtu"]).values()) == [
        "length",
        "transport.mtu",
        "topology.mtu",
    ]


def test_a_lab_keeps_the_parameters_that_do_not_vary() -> None:
    assert with_parameters("two-dc:hosts=4,length=1km", {"length": "80km", "loss": "1e-4"}) == (
        "two-dc:hosts=4,length=80km,loss=1e-4"
    )
    assert with_parameters("labs/mine.yaml", {}) == "labs/mine.yaml"
    with pytest.raises(UsageError, match='two-dc has no parameter "lenth"; did you mean "length"'):
        with_parameters("two-dc", {"lenth": "1km"})
    with pytest.raises(UsageError, match="takes no parameters"):
        with_parameters("memory-span", {"length": "1km"})


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("{over: {transport.mtuu: [1]}}", 'unknown key "mtuu"; did you mean "mtu"'),
        ("{over: {transport: [1]}}", '"transport" is a section'),
        ("{over: {clock: [virtual]}}", '"clock" cannot be varied'),
        ("{over: {}}", "must not be empty|at least 1"),
        ("{over: {seed: []}}", "e.yaml:3: sweep.over.seed: must not be empty"),
        ("{over: {seed: [1, 1]}}", "1 is listed twice"),
        ("{over: {seed: [1, 2]}, best-by: [sed]}", 'best-by: nothing varies "sed"; did you mean "seed"'),
        ("{over: {seed: [1, 2]}, best-by: [seed, seed]}", "best-by: a key is listed twice"),
        ("{ovr: {seed: [1]}}", "e.yaml:3: sweep.ovr: unknown key"),
    ],
)
def test_faults_of_the_section_have_their_line(section: str, fault: str) -> None:
    text = f"topology: pair\nworkload: {{collective: incast}}\nsweep: {section}\n"
    with pytest.raises(ExperimentError, match=fault) as caught:
        experiment_from(parse_yaml(text, "e.yaml", ExperimentError))
    assert all(each.line == 3 for each in caught.value.faults)
