"""One run: execution, what was observed, result and verdict."""
