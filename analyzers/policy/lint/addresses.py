"""Networks in policies, whatever the engine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from analyzers.policy.formula import Network
from analyzers.policy.lint.istio_fields import Given
from analyzers.policy.lint.model import Check, shown

HOST_BITS = Check("host-bits", "warning", "a network whose address has bits beyond its length")
MAPPED = Check("mapped-address", "warning", "an address of version 4 written as one of version 6")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def address_remarks(given: Given, text: str) -> Iterator[tuple[Check, str]]:
    """What is to be said of one address or network."""
    del given
    yield from network_remarks(text)


def every_address(networks: Iterable[Network]) -> bool:
    """Whether networks together are all addresses of a version."""
    return any(network.prefixlen == 0 for network in _joined(networks))


def no_address(network: Network, exceptions: Iterable[Network]) -> bool:
    """Whether exceptions leave nothing of a network."""
    return any(network.version == one.version and network.subnet_of(one) for one in _joined(exceptions))  # pyright: ignore[reportArgumentType]


def _joined(networks: Iterable[Network]) -> list[Network]:
    found = list(networks)
    old = ipaddress.collapse_addresses(one for one in found if isinstance(one, ipaddress.IPv4Network))
    new = ipaddress.collapse_addresses(one for one in found if isinstance(one, ipaddress.IPv6Network))
    return [*old, *new]


def network_remarks(text: str) -> Iterator[tuple[Check, str]]:
    """The same for the networks of any engine; nothing of what is none."""
    try:
        whole = ipaddress.ip_network(text, strict=False)
        own = ipaddress.ip_interface(text).ip
    except ValueError:
        return
    if own != whole.network_address:
        yield HOST_BITS, f"{shown(text)} is all of {whole}: write that, or {own} alone if one address is meant"
    if isinstance(whole, ipaddress.IPv6Network) and whole.subnet_of(_MAPPED):
        mapped = whole.network_address.ipv4_mapped
        length = whole.prefixlen - 96
        yield MAPPED, f"callers over IPv4 are not compared with {shown(text)}: write {mapped}/{length}"
