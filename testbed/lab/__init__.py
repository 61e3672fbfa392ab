"""The lab: nodes, links and their settings, read from a file and checked. Pure."""
