"""The keys of lab and experiment files, and of run.json."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from testbed.experiment.file import Experiment
from testbed.lab.file import LabFile
from testbed.run.result import RunResult
from testbed.schema.keys import EACH, Key, keys_of
from tools.references.markdown import code, page, prose, table

LAB = """
A lab file is YAML. Its keys are listed below, section by section; `NAME` stands for a name of your choice, and `[]` for
each entry of a list. What holds in `defaults` or `kinds` is overridden by a node or link that says otherwise. A key that
is misspelt is refused, with file, line and the nearest key that exists.

`testbed schema lab` prints the same as JSON Schema, for editors.
"""
EXPERIMENT = """
An experiment file is YAML. `--set KEY=VALUE` changes any of these keys for one run: `--set lossless.pfc=false`,
`--set workload.size=64MiB`. Values are read as YAML.

`testbed schema experiment` prints the same as JSON Schema, for editors.
"""
RESULT = """
`run.json` is the result of one run: of all workloads of that run, whatever else its lab has seen. `--format json` prints
the same document. Units stand last in names: `_ns`, `_bps`, `_bytes`. Times are nominal.

What holds a `value` is a document of its own.
"""


def file_pages() -> dict[str, str]:
    """Return the pages of lab file, experiment file and result, by path."""
    return {
        "reference/lab-file.md": _file("Lab file", LAB, LabFile, given=True),
        "reference/experiment-file.md": _file("Experiment file", EXPERIMENT, Experiment, given=True),
        "reference/result.md": _file("Result: run.json", RESULT, RunResult, given=False),
    }


def _file(title: str, about: str, model: type[BaseModel], given: bool) -> str:
    keys = list(keys_of(model))
    sections = [_section("", "", keys, given)]
    for key in keys:
        if key.section:
            sections.append(_section(key.path, key.sentence, keys, given))
    return page(title, prose(about.strip()), *sections)


def _section(path: str, sentence: str, keys: Sequence[Key], given: bool) -> str:
    """Return one section: its heading and a row for each key directly in it; nothing if it has none."""
    own = [(key, name) for key in keys if (name := _name_in(path, key.path)) is not None]
    if not own:
        return ""
    head = ("key", "type", "default", "meaning") if given else ("field", "type", "meaning")
    rows = []
    for key, name in own:
        default = (_default(key),) if given else ()
        rows.append((code(name), key.holds, *default, _meaning(key)))
    heading = f"## {code(path)}" if path else "## The whole"
    return "\n\n".join(part for part in (heading, prose(sentence), table(head, rows)) if part)


def _name_in(section: str, path: str) -> str | None:
    """Return the name of a key within a section; None if it does not stand directly in it."""
    for prefix in (f"{section}.", f"{section}{EACH}.", f"{section}.NAME.") if section else ("",):
        rest = path.removeprefix(prefix)
        if path.startswith(prefix) and "." not in rest and rest != "NAME":
            return rest
    return None


def _default(key: Key) -> str:
    if key.default is None:
        return "required"
    example = f", such as {code(key.example)}" if key.example and key.default == "not set" else ""
    return (code(key.default) if key.default != "not set" else "not set") + example


def _meaning(key: Key) -> str:
    return (
        f"{key.sentence} See below." if key.section and key.sentence else key.sentence or ("See below." * key.section)
    )
