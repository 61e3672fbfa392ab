"""Every page that is made, by its path below docs/."""

from __future__ import annotations

from tools.references.bus import bus_pages
from tools.references.catalogues import catalogue_pages
from tools.references.commands import command_pages
from tools.references.files import file_pages
from tools.references.picture import picture

FOLDERS = ("reference", "cmd")
"""Folders that hold such pages alone."""

PICTURE = "two-dc.svg"


def pages() -> dict[str, str]:
    """Return the text of every such page, and of the picture, by its path."""
    return {**file_pages(), **catalogue_pages(), **bus_pages(), **command_pages(), PICTURE: picture()}
