"""Series of a run: what ports, queue pairs and ranks held and had counted, at multiples of a period; a file beside run.json.

A series is kept as its changes: a value holds from its point until the next change, and is 0 before the first one. Point k is
k periods after the start of the first workload, and whatever happened by then counts.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.timeseries.encoding import decode as decode
    from testbed.timeseries.encoding import encode as encode
    from testbed.timeseries.encoding import join as join
    from testbed.timeseries.files import FORMATS as FORMATS
    from testbed.timeseries.files import describe as describe
    from testbed.timeseries.files import read as read
    from testbed.timeseries.files import write as write
    from testbed.timeseries.files import write_parquet as write_parquet
    from testbed.timeseries.model import Key as Key
    from testbed.timeseries.model import TimeSeries as TimeSeries

_HOMES = {
    **dict.fromkeys(("decode", "encode", "join"), "encoding"),
    **dict.fromkeys(("FORMATS", "describe", "read", "write", "write_parquet"), "files"),
    **dict.fromkeys(("Key", "TimeSeries"), "model"),
}

__all__ = ["FORMATS", "Key", "TimeSeries", "decode", "describe", "encode", "join", "read", "write", "write_parquet"]


def __getattr__(name: str) -> Any:
    """Import what is offered here when it is asked for: an experiment needs the limits alone, and not numpy."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"testbed.timeseries.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
