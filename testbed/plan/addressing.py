"""Addresses, the same on every run and different between labs that live side by side."""

from __future__ import annotations

import hashlib
import ipaddress
from functools import lru_cache

# RFC 2544 sets 198.18.0.0/15 aside for benchmarks: NICs take the lower /16, the hosts' kernels the upper.
NETWORK = ipaddress.IPv4Network("198.18.0.0/15")
_NIC_BASE = int(ipaddress.IPv4Address("198.18.0.0"))
_KERNEL_BASE = int(ipaddress.IPv4Address("198.19.0.0"))
MAX_HOSTS = 65_533
MAX_MACS = 2**16


def stable_hash(*parts: object) -> int:
    """Return a 64-bit number that depends on the parts alone, whatever the process or platform."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def mac_address(lab: str, index: int) -> str:
    """Return the index-th MAC of a lab: locally administered, 24 bits of the lab's hash, 16 bits of index."""
    if not 0 <= index < MAX_MACS:
        raise ValueError(f"a lab has at most {MAX_MACS} addresses")
    return f"{_prefix(lab)}:{index >> 8:02x}:{index & 0xFF:02x}"


@lru_cache(maxsize=64)
def _prefix(lab: str) -> str:
    """Return what all MACs of a lab begin with."""
    return bytes([0x02, *(stable_hash("mac", lab) & 0xFFFFFF).to_bytes(3)]).hex(":")


def nic_ip(host: int) -> str:
    """Return the address of the RDMA NIC of the host with this number."""
    return str(ipaddress.IPv4Address(_NIC_BASE + host + 1))


def kernel_ip(host: int) -> str:
    """Return the address of the kernel of the host with this number."""
    return str(ipaddress.IPv4Address(_KERNEL_BASE + host + 1))
