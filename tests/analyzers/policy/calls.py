"""Calls for policies: as the reference evaluators take them, and as rows of `calls`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from storage.engine import Engine
from storage.tables import CALLS, LOGGED_BIT
from tests.analyzers.records import at, insert

ADDRESSES = ("source_ip", "source_remote_ip", "destination_ip")
FIELDS = (
    *("source_principal", "source_namespace", "source_workload", "method", "path", "authority", "sni"),
    *("destination_port", *ADDRESSES),
)


def row(number: int, call: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `calls`: what is missing in `call` was not logged."""
    given = {name: call[name] for name in FIELDS if call.get(name) is not None}
    for name in given.keys() & set(ADDRESSES):
        address = ipaddress.ip_address(given[name])
        mapped = f"::ffff:{address}" if address.version == 4 else str(address)
        given[name] = ipaddress.IPv6Address(mapped).packed
    told = {*given, *(["tls"] if call.get("tls") not in (None, "unknown") else [])}
    return {
        "ts": at(0),
        "received_at": at(0),
        "request_id": f"r{number:09}",
        "tls": call.get("tls") or "unknown",
        "protocol": "tcp" if call["transport"] == "tcp" else "http",
        "attributes": dict(call["attributes"]),
        "logged": sum(1 << LOGGED_BIT[name] for name in told if name in LOGGED_BIT),
        **given,
    }


def insert_calls(engine: Engine, calls: Sequence[Mapping[str, Any]]) -> None:
    """Store them; their request ids are in their order."""
    insert(engine, CALLS, [row(number, call) for number, call in enumerate(calls)])
