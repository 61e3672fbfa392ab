"""Hostile inputs for what takes input: files, plans, messages on the bus, frames, captures. `python -m tools.fuzz` runs them."""
