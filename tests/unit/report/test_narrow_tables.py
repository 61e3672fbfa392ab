"""Tables of the report on consoles of any width: figures and names are whole, sentences break between words."""

import io
from typing import Any

import pytest
from rich.console import Console, Group
from rich.text import Text

from testbed.report.settled import settled_table
from testbed.report.tables import table_of, with_columns, with_note
from testbed.run.counters import Settled

NAMES = ("border-a:eth12", "b:eth1")
FIGURES = (("1,048,576", "391.76 us", "137.54 kB"), ("-", "9.24 ms", "4.17 kB"))


def lines(*parts: Any, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    for part in parts:
        console.print(part, crop=False)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def ports(width: int) -> list[str]:
    table = table_of("Ports", left=("port",), right=("frames tx", "paused", "queue max"))
    table.add_column("drops", justify="right", overflow="fold", ratio=1)
    for name, figures, drops in zip(NAMES, FIGURES, ("headroom 12,345", "-"), strict=True):
        table.add_row(Text(name), *figures, drops)
    return lines(table, width=width)


def test_gaps_shrink_and_headings_break_where_a_table_is_too_wide() -> None:
    assert ports(71) == [
        "Ports",
        "port            frames tx     paused  queue max            drops",
        "border-a:eth12  1,048,576  391.76 us  137.54 kB  headroom 12,345",
        "b:eth1                  -    9.24 ms    4.17 kB                -",
    ]
    assert ports(55) == [
        "Ports",
        "                  frames               queue",
        "port                  tx    paused       max      drops",
        "border-a:eth12 1,048,576 391.76 us 137.54 kB   headroom",
        "                                                 12,345",
        "b:eth1                 -   9.24 ms   4.17 kB          -",
    ]


@pytest.mark.parametrize("width", range(10, 90, 7))
def test_no_width_breaks_a_figure_or_a_name(width: int) -> None:
    printed = ports(width)
    for name, figures in zip(NAMES, FIGURES, strict=True):
        of_row = [line for line in printed if line.startswith(name)]
        assert all(any(f" {figure}" in line for line in of_row) for figure in figures)
    assert width < 24 or max(map(len, printed)) <= width


def test_columns_without_content_go_before_anything_else() -> None:
    table = table_of("Ports", left=("port",), right=("frames tx", "pauses", "queue max"))
    table.add_row("leaf:eth1", "1,234", "-", "4.17 kB")
    table.add_row("leaf:eth2", "-", "-", "")
    assert lines(table, width=40)[1].split() == ["port", "frames", "tx", "pauses", "queue", "max"]
    assert lines(table, width=31) == [
        "Ports",
        "port       frames tx  queue max",
        "leaf:eth1      1,234    4.17 kB",
        "leaf:eth2          -",
    ]


def test_what_does_not_fit_stands_in_tables_below_with_the_names_of_rows() -> None:
    assert ports(30) == [
        "Ports",
        "                  frames",
        "port                  tx",
        "border-a:eth12 1,048,576",
        "b:eth1                 -",
        "Ports, continued",
        "port              paused",
        "border-a:eth12 391.76 us",
        "b:eth1           9.24 ms",
        "Ports, continued",
        "                   queue",
        "port                 max",
        "border-a:eth12 137.54 kB",
        "b:eth1           4.17 kB",
        "Ports, continued",
        "port                     drops",
        "border-a:eth12 headroom 12,345",
        "b:eth1                       -",
    ]


def test_columns_that_are_named_stand_alone_beside_the_names_of_rows() -> None:
    table = table_of("Ports", left=("port",), right=("frames tx", "paused"))
    table.add_row("leaf:eth1", "1,234", "9.24 ms")
    other = table_of("Flows", left=("source",), right=("size",))
    report, headings = with_columns(Group(Text("# head"), table, other), ["paused"])
    assert headings == {"frames tx", "paused", "size"}
    assert lines(report, width=80) == ["# head", "Ports", "port        paused", "leaf:eth1  9.24 ms"]


def part(from_us: int, to_us: int, **priority: int) -> dict[str, Any]:
    idle = {"rate_bps": 10**11, "priorities": {"3": {"queue_bytes_max": 66}}}
    ports = {"leaf:eth2": idle} | (
        {"leaf:eth1": {"rate_bps": 10**11, "priorities": {"3": priority}}} if priority else {}
    )
    drops = {"lossless": 0, "lossy": 0, "link": 0}
    return {"from_ns": from_us * 1000, "to_ns": to_us * 1000, "ports": ports, "pools": {}, "drops": drops}


def settled(windows: list[dict[str, Any]], omitted: int = 0) -> list[str]:
    whole = part(100, 500, bytes_tx=5_000_000, queue_bytes_min=0, queue_bytes_max=511_434, queue_bytes=0)
    state = Settled.model_validate(whole | {"window_ns": 200_000, "windows": windows, "windows_omitted": omitted})
    return lines(*with_note(settled_table(state)), width=100)


def test_the_deepest_queue_is_shown_by_windows() -> None:
    """A resting level is read where a window's least and most are close; a window without a frame of it held nothing."""
    resting = part(100, 300, bytes_tx=2_490_642, queue_bytes_min=453_222, queue_bytes_max=511_434, queue_bytes=457_380)
    assert settled([resting, part(300, 500)]) == [
        "",
        "Settled state of the deepest queue, leaf:eth1 priority 3",
        "part            from         to         sent  queue least  queue most  at the end",
        "all of it  100.00 us  500.00 us  100.00 Gb/s          0 B   511.43 kB         0 B",
        "window 0   100.00 us  300.00 us   99.63 Gb/s    453.22 kB   511.43 kB   457.38 kB",
        "window 1   300.00 us  500.00 us    0.00 Gb/s          0 B         0 B         0 B",
        "other ports are in run.json",
    ]


def test_of_many_windows_the_last_are_shown_under_their_own_numbers() -> None:
    printed = settled([part(100 + 10 * place, 110 + 10 * place) for place in range(20)], omitted=7)
    assert [line.split()[1] for line in printed if line.startswith("window")] == [str(7 + n) for n in range(4, 20)]
    assert printed[-1] == "earlier windows and other ports are in run.json"


def test_without_a_settled_state_there_is_no_table() -> None:
    assert with_note(settled_table(None)) == []
