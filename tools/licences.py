"""List the licence of every dependency, of Python, Rust and npm, as the packages themselves state it: `make licences`.

Python's are those of requirements-dev.lock, read from the environment that this runs in; Rust's those of Cargo.lock, and npm's
those of web/package-lock.json, which states them. Exit code 1 if one states none, 3 if a package or cargo is missing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 60
"""Some packages put the whole text where its name belongs."""


class Licence(NamedTuple):
    """One dependency; `licence` is empty where the package states none."""

    kind: str
    name: str
    version: str
    licence: str


def locked(lock: str) -> Iterator[tuple[str, str]]:
    """Yield name and version of every package in the text of a lock file."""
    for line in lock.splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line):
            yield match[1], match[2]


def stated(fields: metadata.PackageMetadata) -> str:
    """Return the licence of a Python package: an SPDX expression, a name, or what its classifiers say."""
    expression, name = fields.get("License-Expression"), (fields.get("License") or "").strip()
    if expression or 0 < len(name.splitlines()[0] if name else "") <= LONGEST:
        return expression or name.splitlines()[0]
    classifiers = [
        entry.split("::")[-1].strip() for entry in fields.get_all("Classifier") or () if entry.startswith("License ::")
    ]
    return " / ".join(classifiers)


def python_licences(lock: str) -> Iterator[Licence]:
    """Yield the packages of a lock file; raise metadata.PackageNotFoundError for one that is not installed."""
    for name, version in locked(lock):
        yield Licence("python", name, version, stated(metadata.metadata(name)))


def rust_licences(document: str) -> Iterator[Licence]:
    """Yield the crates of what `cargo metadata` printed, but for those of the workspace itself."""
    metadata = json.loads(document)
    own = set(metadata["workspace_members"])
    for crate in metadata["packages"]:
        if crate["id"] not in own:
            yield Licence("rust", crate["name"], crate["version"], crate["license"] or crate["license_file"] or "")


def npm_licences(lock: str) -> Iterator[Licence]:
    """Yield the packages in the text of a package-lock.json, but for the project itself."""
    for path, package in json.loads(lock)["packages"].items():
        if path:
            yield Licence("npm", path.removeprefix("node_modules/"), package["version"], package.get("license", ""))


def main() -> int:
    """Print the table."""
    command = [
        "cargo",
        "metadata",
        "--locked",
        "--format-version=1",
        f"--manifest-path={ROOT / 'dataplane' / 'Cargo.toml'}",
    ]
    try:
        crates = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows = [
            *python_licences((ROOT / "requirements-dev.lock").read_text(encoding="utf-8")),
            *rust_licences(crates),
            *npm_licences((ROOT / "web" / "package-lock.json").read_text(encoding="utf-8")),
        ]
    except (OSError, subprocess.CalledProcessError, metadata.PackageNotFoundError) as error:
        print(f"licences cannot be listed: {error}", file=sys.stderr)
        return 3
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in sorted(rows, key=lambda row: (row.kind, row.name.lower(), row.version)):
        print(
            *(text.ljust(width) for text, width in zip(row, widths, strict=False)),
            row.licence or "not stated",
            sep="  ",
        )
    silent = [row.name for row in rows if not row.licence]
    if silent:
        print(f"no licence stated: {', '.join(silent)}", file=sys.stderr)
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
