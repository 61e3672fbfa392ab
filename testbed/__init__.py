"""A network emulation testbed controller for lossless fabrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.api import AsyncLab as AsyncLab
    from testbed.api import Lab as Lab

__all__ = ["AsyncLab", "Lab"]


def __getattr__(name: str) -> Any:
    """Import what is offered here when it is asked for: the controller is much more than most modules need."""
    if name in __all__:
        from testbed import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
