"""Formats of other tools, read as the data of a lab file and written from a lab: a file a kind."""
