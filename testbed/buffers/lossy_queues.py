"""What lossy priorities may hold at the egress ports of a switch, and what of its memory is set aside for them."""

from __future__ import annotations

from testbed.lab.topology import Switch

PRIORITIES = 8
LOSSY_QUEUE_BYTES = 1_000_000


def default_queue_bytes(switch: Switch, ports: int) -> int:
    """Return the static limit of one lossy queue, where it is dynamic the part of one port in what is set aside."""
    if switch.lossy_queue_bytes is not None:
        return switch.lossy_queue_bytes
    if switch.buffer_bytes is None:
        return LOSSY_QUEUE_BYTES
    # All lossy queues together leave three quarters of the memory to lossless priorities.
    return min(LOSSY_QUEUE_BYTES, switch.buffer_bytes // (4 * max(1, ports)))


def aside_bytes(switch: Switch, ports: int, queue_bytes: int, shares: bool) -> int:
    """Return the memory that lossy frames have for themselves.

    `shares`: the priority groups share a pool. With an egress pool of their own lossy frames are then charged to that
    pool too, and have nothing for themselves.
    """
    if shares and switch.lossy_pool_bytes:
        return 0
    reserves = switch.lossy_reserve_bytes * ports * (PRIORITIES - len(switch.lossless_queues))
    queues = queue_bytes * ports
    return reserves + (min(queues, switch.lossy_pool_bytes) if switch.lossy_pool_bytes else queues)


def plan_keys(switch: Switch) -> dict[str, int]:
    """Return the keys of the plan that only switches with more than a static limit have."""
    keys = {"lossy_reserve_bytes": switch.lossy_reserve_bytes, "lossy_pool_bytes": switch.lossy_pool_bytes}
    alpha = {} if switch.lossy_alpha_log2 is None else {"lossy_alpha_log2": switch.lossy_alpha_log2}
    return alpha | {key: size for key, size in keys.items() if size}
