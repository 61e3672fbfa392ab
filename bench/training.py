"""Run what the wheel of `make pgo-wheel` is optimised by: the virtual clock on small and large labs, with and without pauses."""

from __future__ import annotations

from dataclasses import replace

from bench import virtual

# Of a thousand hosts, which no cache holds.
HUGE = virtual.Permutation("clos:tiers=3,radix=16,rate=100G,delay=1us", 1024, 64 << 10)


def main() -> None:
    """Run each once. Raises BenchError if a run is incomplete or breaks an invariant."""
    small, span = replace(virtual.SMALL, flow_bytes=8 << 20), replace(virtual.SPAN, flow_bytes=1 << 20)
    for work in (small, replace(virtual.LARGE, flow_bytes=1 << 20), HUGE, span):
        virtual.measure(1, work)
    virtual.measure_causes(1, replace(virtual.PAUSED, flow_bytes=1 << 20))


if __name__ == "__main__":
    main()
