"""Series of a run: what ports, queue pairs and ranks held and had counted, at multiples of a period; a file beside run.json.

A series is kept as its changes: a value holds from its point until the next change, and is 0 before the first one. Point k is
k periods after the start of the first workload, and whatever happened by then counts.
"""

from testbed.timeseries.encoding import decode, encode, join
from testbed.timeseries.files import FORMATS, describe, read, write
from testbed.timeseries.model import QUANTITIES, Key, TimeSeries

__all__ = ["FORMATS", "QUANTITIES", "Key", "TimeSeries", "decode", "describe", "encode", "join", "read", "write"]
