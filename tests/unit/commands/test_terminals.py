"""What a command prints at a terminal: on a narrow one no figure is cut off or broken."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

MAIN = "import sys; from testbed.start import main; sys.argv[0] = 'testbed'; sys.exit(main())"


def at_a_terminal(columns: int, cwd: Path, *arguments: str) -> list[str]:
    """Run testbed with standard output at a terminal of so many columns; return the lines that it was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-c", MAIN, *arguments]
    process = subprocess.Popen(
        command, cwd=cwd, env={**environment, "TERM": "xterm"}, stdout=theirs, stderr=subprocess.DEVNULL
    )
    os.close(theirs)
    sent = b""
    try:
        while chunk := os.read(ours, 65536):
            sent += chunk
    except OSError:  # EIO: the command has ended
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", sent.decode()).replace("\r", "").splitlines()


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_rows_are_whole_on_any_terminal(tmp_path: Path, columns: int) -> None:
    lines = at_a_terminal(columns, tmp_path, "run", "all_reduce", "-t", "pair", "-b", "64K", "--clock", "virtual")
    rows = [line.split() for line in lines if " float " in line]
    # Size, count, type, redop and root; then time, two bandwidths and wrong elements, once for each place.
    if columns >= 107:
        assert len(rows) == 1 and len(rows[0]) == 14 and rows[0][8] == rows[0][12] == "0", rows
    else:
        assert [len(row) for row in rows] == [10, 9] and rows[0][8] == rows[1][8] == "0", rows
    if columns >= 80:
        assert max(len(line.rstrip()) for line in lines) <= columns


OPTICAL = """\
name: metro
topology:
  nodes:
    a1: {kind: host}
    b1: {kind: host}
    border-a: {kind: switch, buffer: auto}
    border-b: {kind: switch, buffer: auto}
  links:
    - {endpoints: ["a1:eth1", "border-a:eth1"], profile: 800g-dr8, length: 400m}
    - {endpoints: ["border-a:eth2", "border-b:eth2"], profile: 400g-zr, length: 100km, margin-db: 0.2}
    - {endpoints: ["b1:eth1", "border-b:eth1"], profile: microled-800g, length: 20m}
"""


@pytest.mark.parametrize("columns", [80, 140])
def test_an_explanation_breaks_no_name_and_no_figure(tmp_path: Path, columns: int) -> None:
    (tmp_path / "metro.yaml").write_text(OPTICAL)
    lines = [line.rstrip() for line in at_a_terminal(columns, tmp_path, "validate", "--explain", "metro.yaml")]
    assert max(map(len, lines)) <= columns
    span = "border-a:eth2 - border-b:eth2"
    delay, optics, terms = (line for line in lines if line.startswith(span))
    assert delay.split()[3:5] == ["400G", "100km"] and delay.split()[6] == "us"
    assert "400g-zr" in optics and optics.endswith(" dB") and terms.count(" us") == 2
    (buffers,) = (line.split() for line in lines if re.match(r"border-a:eth2 +3 ", line))
    assert len(buffers) == 7 and all(re.fullmatch(r"[\d,]+", buffers[column]) for column in (2, 4, 5)), buffers


def test_an_explanation_has_no_tables_of_optics_where_there_are_none(tmp_path: Path) -> None:
    lines = at_a_terminal(80, tmp_path, "validate", "--explain", "two-dc:length=300km")
    assert not any(line.startswith(("Optics", "Delays")) for line in lines)
    assert any(line.split() == ["border-a", "76,000,000", "auto"] for line in lines)
