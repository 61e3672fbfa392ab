"""Benchmarks of the testbed itself: one module a question, each with a function `measure`; `python -m bench` asks all."""

from testbed.errors import TestbedError


class BenchError(TestbedError):
    """What was measured did not do what it should have done, so that its speed means nothing."""
