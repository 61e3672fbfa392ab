"""Addresses, the same on every run and different between labs that live side by side."""

from __future__ import annotations

import hashlib
import ipaddress
from functools import lru_cache

# RFC 2544 sets 198.18.0.0/15 aside for benchmarks: NICs take the lower /16, the hosts' kernels the upper. Fabrics of more hosts
# than those hold, which the virtual clock alone carries, go on in the halves of 10.0.0.0/8 (RFC 1918).
NETWORK = ipaddress.IPv4Network("198.18.0.0/15")
_NIC_BASE = int(ipaddress.IPv4Address("198.18.0.0"))
_KERNEL_BASE = int(ipaddress.IPv4Address("198.19.0.0"))
_MANY_NICS = int(ipaddress.IPv4Address("10.0.0.0"))
_MANY_KERNELS = int(ipaddress.IPv4Address("10.128.0.0"))
MAX_HOSTS = 65_533
"""Ports of hosts that have addresses in `NETWORK`."""
MAX_MACS = 2**22


def stable_hash(*parts: object) -> int:
    """Return a 64-bit number that depends on the parts alone, whatever the process or platform."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def mac_address(lab: str, index: int) -> str:
    """Return the index-th MAC of a lab: locally administered, 24 bits of the lab's hash, 22 bits of index.

    Its upper six bits stand in the first octet above the two that say what the address is (IEEE 802, clause 8.2).
    """
    if not 0 <= index < MAX_MACS:
        raise ValueError(f"a lab has at most {MAX_MACS} addresses")
    return f"{2 | index >> 16 << 2:02x}:{_hashed(lab)}:{index >> 8 & 0xFF:02x}:{index & 0xFF:02x}"


@lru_cache(maxsize=64)
def _hashed(lab: str) -> str:
    """Return the octets that all MACs of a lab have, after the first."""
    return (stable_hash("mac", lab) & 0xFFFFFF).to_bytes(3).hex(":")


def nic_ip(host: int) -> str:
    """Return the address of the RDMA NIC of the host with this number."""
    return _address(_NIC_BASE, _MANY_NICS, host)


def kernel_ip(host: int) -> str:
    """Return the address of the kernel of the host with this number."""
    return _address(_KERNEL_BASE, _MANY_KERNELS, host)


def _address(base: int, beyond: int, host: int) -> str:
    first = base if host < MAX_HOSTS else beyond - MAX_HOSTS
    return str(ipaddress.IPv4Address(first + host + 1))
