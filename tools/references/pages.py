"""Every page that is made, by its path below docs/."""

from __future__ import annotations

from testbed.drawing.picture import svg
from testbed.lab.topology import load_lab
from tools.references.bus import bus_pages
from tools.references.catalogues import catalogue_pages
from tools.references.commands import command_pages
from tools.references.files import file_pages

FOLDERS = ("reference", "cmd")
"""Folders that hold such pages alone."""

PICTURE = "two-dc.svg"
"""The picture of README, as `testbed graph --svg -t two-dc` draws it."""


def pages() -> dict[str, str]:
    """Return the text of every such page, and of the picture, by its path."""
    return {**file_pages(), **catalogue_pages(), **bus_pages(), **command_pages(), PICTURE: svg(load_lab("two-dc"), {})}
