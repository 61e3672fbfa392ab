"""Jobs on accelerators: which policy places, shifts and prioritises them. Pure.

A policy of one's own is a function from `Cluster` and `Request`s to `Assignment`s, named in the entry point group
`testbed.schedulers` (docs/guides/scheduling.md).
"""

from testbed.scheduling.interface import Assignment, Cluster, Policy, Request

__all__ = ["Assignment", "Cluster", "Policy", "Request"]
