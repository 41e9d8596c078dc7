"""Addresses and networks as the meshes' own programs read them (Go's netip, Rust's ipnet): less than Python takes."""

from __future__ import annotations

import ipaddress
import re

from analyzers.policy.formula import Network

_FORM = re.compile(r"[0-9A-Fa-f:.]+(?:/(?:0|[1-9][0-9]{0,2}))?")


def read_network(text: str) -> Network | None:
    """An address, or a network in CIDR form, whose bits beyond its length are let go; None where it is neither.

    Netmasks (10.0.0.0/255.0.0.0), host masks, zones (fe80::1%eth0) and leading zeros, in numbers as in lengths, are
    none: Python takes some of them, and programs disagree whether 010 is eight or ten.
    """
    try:
        return ipaddress.ip_network(text, strict=False) if _FORM.fullmatch(text) else None
    except ValueError:
        return None
