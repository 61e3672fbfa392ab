"""Kernel primitives: namespaces, netlink, queueing disciplines, captures."""
