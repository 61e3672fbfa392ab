"""Which versions a result was made with. Imports little: `testbed --version` shows one of them."""

from __future__ import annotations

import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Return the versions of the testbed, Python and the kernel."""
    try:
        own = metadata.version("lossless-testbed")
    except metadata.PackageNotFoundError:
        own = "not installed"
    return {"testbed": own, "python": platform.python_version(), "kernel": f"{platform.system()} {platform.release()}"}
