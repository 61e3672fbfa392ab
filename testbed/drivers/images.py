"""Images of nodes: a Debian base, from a registry where one can be reached and by debootstrap elsewhere, and the Dockerfiles
of `containers/images` on top.

Neither needs the other: a base of debootstrap holds every package already, so that building on it takes no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from testbed.drivers.containers import connected
from testbed.errors import DriverError, HostError, UsageError
from testbed.lab.containers import DEFAULT_IMAGES

BASE = "testbed-base"
# One image for everybody, whenever it is built: bookworm-20250721-slim, by the digest that stands for it in public Dockerfiles.
REGISTRY_BASE = ("debian", "sha256:2424c1850714a4d94666ec928e24d86de958646737b1d113f5b2207be44d37d8")
SUITE = "bookworm"
_DEBOOTSTRAP_S = 900

Note = Callable[[str], None]


def build(kinds: list[str], base: str | None, fresh: bool, note: Note) -> list[str]:
    """Build the images of kinds of node; return their names. `base`: an image to build on instead of a Debian one.

    A base that was made before is used again, unless `fresh`. Raises UsageError for a kind that has no image, HostError
    without an engine or without any way to a base, DriverError if a build fails.
    """
    unknown = sorted(set(kinds) - DEFAULT_IMAGES.keys())
    if unknown:
        raise UsageError(f"no image for nodes of kind {unknown[0]}; there are {', '.join(sorted(DEFAULT_IMAGES))}")
    with connected() as client, resources.as_file(resources.files("testbed.containers") / "images") as context:
        chosen = base or _base(client, context, fresh, note)
        for kind in kinds:
            note(f"building {DEFAULT_IMAGES[kind]} on {chosen}")
            _build(client, context, kind, chosen)
    return [DEFAULT_IMAGES[kind] for kind in kinds]


def missing(kinds: list[str]) -> list[str]:
    """Return the kinds whose image is not on this machine."""
    with connected() as client:
        return [kind for kind in kinds if not _has(client, DEFAULT_IMAGES[kind])]


def _has(client: Any, image: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def _base(client: Any, context: Path, fresh: bool, note: Note) -> str:
    """Return an image of Debian's base system: one that is there, else a registry's, else one made here."""
    from docker.errors import APIError

    name = "@".join(REGISTRY_BASE)
    for known in () if fresh else (name, BASE):
        if _has(client, known):
            return known
    try:
        note(f"pulling {name}")
        client.images.pull(*REGISTRY_BASE)
        return name
    except APIError as error:
        note(f"no registry can be reached ({str(error.explanation or error)[:120]}): making {BASE} by debootstrap")
    _bootstrap(client, context)
    return BASE


def _bootstrap(client: Any, context: Path) -> None:
    """Make the base with every package of every kind, and hand it to the engine as an image."""
    program = shutil.which("debootstrap", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        raise HostError("no debootstrap on this machine: install Debian's package, or give a base with --base")
    packages = {line for path in context.glob("*.packages") for line in path.read_text().split()}
    with tempfile.TemporaryDirectory(prefix="testbed-base-") as scratch:
        root = Path(scratch, "root")
        command = [program, "--variant=minbase", f"--include={','.join(sorted(packages))}", SUITE, str(root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DEBOOTSTRAP_S, check=False)
        if done.returncode != 0:
            end = (done.stdout + done.stderr).strip().splitlines()[-3:]
            raise DriverError("debootstrap", 0, "; ".join(end))
        archive = Path(scratch, "base.tar")
        clutter = ["./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*", "./dev/*"]
        tar = ["tar", "-C", str(root), *(f"--exclude={pattern}" for pattern in clutter), "-cf", str(archive), "."]
        subprocess.run(tar, check=True, capture_output=True)
        client.api.import_image_from_file(str(archive), repository=BASE, tag="latest")


def _build(client: Any, context: Path, kind: str, base: str) -> None:
    from docker.errors import BuildError

    try:
        client.images.build(
            path=str(context),
            dockerfile=f"{kind}.Dockerfile",
            tag=DEFAULT_IMAGES[kind],
            buildargs={"BASE": base},
            # A build may have to fetch packages, and the engine need not have a network of its own for that.
            network_mode="host",
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        lines = [str(entry.get("stream", "")).strip() for entry in error.build_log if isinstance(entry, dict)]
        end = " ".join(line for line in lines[-3:] if line)
        raise DriverError(f"build image {DEFAULT_IMAGES[kind]}", 0, f"{error.msg}; {end}") from error
