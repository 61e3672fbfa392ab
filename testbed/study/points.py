"""Points: what a study computes once and keeps, a file for each, named by the hash of its inputs.

A point is one run of a sweep, a comparison of policies, a campaign or a search. Its inputs are what it is computed from: the lab
and the settings, the seed, and the code. So the same point has the same name on every machine, a study that was interrupted goes
on where it was, and several processes that share a directory share their points.

A file is gzip of two lines of JSON. The first is the head: `schema`, `key`, which is the name; `sha256` of the second line;
`settled`, whether the point need not be tried again; `computed`, a record of each time that it was computed. A file that is cut
off, altered, or of another key is not taken for a point, and is replaced when the point is computed again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from testbed.files import write_whole
from testbed.run.versions import versions

Json = dict[str, Any]

ROOT = Path(__file__).parent.parent
"""The package, whose code a point depends on."""
SCHEMA = 1
SUFFIX = ".json.gz"
DIRECTORY_VARIABLE = "TESTBED_CACHE"
_CODE = (".py", ".so", ".yaml", ".json")
_LEVEL = 5


def default_directory() -> Path:
    """Return where points are kept unless somebody says otherwise: below XDG_CACHE_HOME, else below ~/.cache."""
    cache_home = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else Path.home() / ".cache") / "testbed" / "points"


@cache
def code_version() -> str:
    """Return the version of the testbed with a hash of its code, so that a checkout does not take points of older code."""
    digest = hashlib.sha256()
    # The packages that stand at the top of the repository are links.
    for folder, below, names in os.walk(ROOT, followlinks=True):
        below[:] = sorted(name for name in below if name != "__pycache__")
        for name in sorted(names):
            if name.endswith(_CODE):
                path = Path(folder, name)
                digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{versions()['testbed']}+{digest.hexdigest()[:16]}"


def key_of(kind: str, inputs: Json) -> str:
    """Return the name of the point of a kind that is computed from these inputs, by the code of this process."""
    text = json.dumps({"kind": kind, "inputs": inputs, "code": code_version()}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Kept:
    """What a file of a point holds."""

    content: Json
    settled: bool
    computed: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Points:
    """A directory of points, made when the first is written."""

    directory: Path

    def path(self, key: str) -> Path:
        """Return where a point is kept."""
        return self.directory / f"{key}{SUFFIX}"

    def read(self, key: str) -> Kept | None:
        """Return a point; None if it is not there, or the file is not whole, not unaltered, or not of this point."""
        try:
            head_line, _, line = gzip.decompress(self.path(key).read_bytes()).partition(b"\n")
            head = json.loads(head_line)
            if (head["schema"], head["key"], head["sha256"]) != (SCHEMA, key, hashlib.sha256(line).hexdigest()):
                return None
            return Kept(json.loads(line), bool(head["settled"]), tuple(head["computed"]))
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, key: str, content: Json, record: Mapping[str, Any], settled: bool = True) -> Path:
        """Keep a point that was computed as `record` says; an older one of the key leaves its records.

        Raises what `errors.cannot_write` makes of a failure.
        """
        before = self.read(key)
        line = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        head = {
            "schema": SCHEMA,
            "key": key,
            "sha256": hashlib.sha256(line).hexdigest(),
            "settled": settled,
            "computed": [*(before.computed if before else ()), dict(record)],
        }
        packed = gzip.compress(json.dumps(head, separators=(",", ":")).encode() + b"\n" + line, _LEVEL, mtime=0)
        return write_whole(self.path(key), lambda file: file.write(packed))
