"""Labs and experiments as YAML, read by `testbed validate` as a user would have them read."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from ruamel.yaml import YAML

from testbed import topologies
from testbed.cli import main
from testbed.study import random_cases
from tools.fuzz import mutation
from tools.fuzz.target import Target, require

_TOKENS = (
    "&a ",
    "*a",
    "<<: *a\n",
    "- <<: [*a, *a]\n",
    "!!python/object/apply:os.system [id]",
    "!!binary ",
    "!!set {a}",
    "!<tag:x> ",
    "{",
    "}",
    "[" * 60,
    "[[],",
    "- " * 60,
    "? ",
    ": ",
    "|\n",
    ">-\n",
    "'",
    '"\\ud800"',
    '"\\x00"',
    "# ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "%TAG ! x:\n",
    "\t",
    "\ufeff",
    "0x" + "f" * 2000,
    "9" * 5000,
    "1_000",
    "0o17",
    "1:30",
    "2026-11-30",
    ".inf",
    ".nan",
    "~",
    "yes",
    "é",
    "‮",
    "€" * 200,
)
_ACCEPTED, _REFUSED, _LACKING = 0, 2, 3


@cache
def _written() -> list[tuple[str, Any]]:
    """Return the files that ship, and some that a campaign draws, as text and as data."""
    folders = (Path(topologies.__file__).parent / name for name in ("labs", "experiments"))
    texts = [path.read_text(encoding="utf-8") for folder in folders for path in sorted(folder.glob("*.yaml"))]
    reader = YAML(typ="safe", pure=True)
    shipped = [(text, reader.load(text)) for text in texts]
    cases = [random_cases.draw(seed) for seed in range(12)]
    drawn = [data for case in cases for data in (case.lab, {**case.experiment, "topology": "two-dc"})]
    return [*shipped, *((mutation.dump(data), data) for data in drawn)]


def draw(random: Random) -> bytes:
    """Draw the text of a file."""
    text, data = random.choice(_written())
    if random.random() < 0.6:
        text = mutation.dump(mutation.document(random, data))
    if random.random() < 0.5:
        text = mutation.text(random, text, _TOKENS)
    written = text.encode("utf-8", "surrogatepass")
    return mutation.octets(random, written) if random.random() < 0.05 else written


def check(data: bytes) -> None:
    """Have a file checked: it is sound, or its faults are named in lines of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.yaml"
        path.write_bytes(data)
        code, printed = _called("validate", "--explain", str(path))
    for sign in ("internal error", "Traceback", "PanicException"):
        require(sign not in printed, f"exit code {code}: {printed[-2000:]}")
    require(code in (_ACCEPTED, _REFUSED, _LACKING), f"exit code {code}: {printed[-2000:]}")
    require(
        code == _ACCEPTED or "input.yaml" in printed, f"exit code {code} without a word of the file: {printed[-2000:]}"
    )
    require(len(printed) < 2**20, f"{len(printed)} characters were printed")


def _called(*arguments: str) -> tuple[int, str]:
    """Run the command line in this process; return its exit code and all that it printed."""
    before = sys.argv, [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    printed = io.StringIO()
    sys.argv = ["testbed", *arguments]
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = main()
    except SystemExit as ending:
        code = int(ending.code or 0)
    finally:
        sys.argv = before[0]
        for number, handler in zip((signal.SIGTERM, signal.SIGHUP), before[1], strict=True):
            signal.signal(number, handler)
    return code, printed.getvalue()


YAML_FILES = Target("yaml", ".yaml", draw, check)
