"""The verbs of a controller, as coroutines without output."""
