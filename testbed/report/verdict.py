"""The verdict on a run in one line, in colour where the console has some."""

from __future__ import annotations

from rich.text import Text

from testbed.run import sentence
from testbed.run.result import RunResult

_COLOURS = {"UNTRUSTED": "yellow", "PASSED": "green", "FAILED": "red"}


def verdict_text(result: RunResult) -> Text:
    """Return the verdict: what failed, then what held."""
    word = sentence.word(result)
    failed, held = sentence.facts(result)
    text = Text().append(word, style=f"bold {_COLOURS[word]}").append(": ").append(", ".join(failed), _COLOURS[word])
    return text.append("; " if failed and held else "").append(", ".join(held))
