"""Small ways to write operator batches, calls and aliases in tests of identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from collector.decode.operators import CARRIED_BIT, OPERATORS, carried
from collector.identity.address_book import AddressBook
from collector.identity.socket_addresses import ip_bytes, ip_text
from storage.tables import ALIASES, LOGGED_BIT, arrow_schema

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
Row = Mapping[str, Any]


def operators(lines: Sequence[Row]) -> pa.RecordBatch:
    """An operator batch: each line carries exactly the operators that it names (None = carried, absent)."""
    rows: list[dict[str, Any]] = []
    for index, line in enumerate(lines):
        row = {field.name: None for field in OPERATORS} | {"attributes": {}, "raw": b"line", "start_time": AT} | line
        row["carried"] = carried(name for name in line if name in CARRIED_BIT) | 1
        row["pod_labels"] = None if row["pod_labels"] is None else list(row["pod_labels"].items())
        row["attributes"] = list(row["attributes"].items())
        rows.append(row | {"_message": index, "_record": 0})
    return pa.RecordBatch.from_pylist(rows, schema=OPERATORS)


def plain(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows with addresses as text, without what is empty."""
    rows: list[dict[str, Any]] = []
    for row in batch.to_pylist():
        named = {name: ip_text(value) if name.endswith("_ip") and value else value for name, value in row.items()}
        rows.append({name: value for name, value in named.items() if value not in ("", 0, None, [], b"")})
    return rows


def logged_fields(bits: int) -> set[str]:
    """Names of the fields whose bit is set in `logged`."""
    return {name for name, bit in LOGGED_BIT.items() if bits >> bit & 1}


def aliases(rows: Sequence[Row]) -> pa.Table:
    """Rows of table `aliases`; what is not given is empty, unbounded and from the inventory."""
    base: dict[str, Any] = dict.fromkeys(ALIASES.names, "")
    base |= {"kind": "pod_ip", "evidence": "inventory", "is_gateway": 0, "loaded_at": AT}
    base |= {"valid_from": datetime(1970, 1, 1, tzinfo=UTC), "valid_to": datetime(2200, 1, 1, tzinfo=UTC)}
    return pa.Table.from_pylist([base | dict(row) for row in rows], schema=arrow_schema(ALIASES))


def book(*rows: Row) -> AddressBook:
    """An address book of these alias rows."""
    return AddressBook.from_aliases(aliases(rows))


def calls(*rows: Row) -> pa.RecordBatch:
    """Calls as `calls_json` gives them: the fields that a row has are logged."""
    whole: list[dict[str, Any]] = []
    names = list(dict.fromkeys(name for row in rows for name in row))
    for row in rows:
        bits = sum(1 << LOGGED_BIT[name] for name in row if name in LOGGED_BIT)
        given = {name: ip_bytes(value) if name.endswith("_ip") else value for name, value in row.items()}
        whole.append({"ts": AT, "logged": bits, "_message": 0} | {name: given.get(name) for name in names} | given)
    types = {"ts": pa.timestamp("us", "UTC"), "logged": pa.uint64(), "_message": pa.int32()}
    types |= {name: pa.binary(16) for name in names if name.endswith("_ip")}
    types |= {"status": pa.uint16(), "grpc_status": pa.uint8(), "destination_port": pa.uint16()}
    fields = [(name, types.get(name, pa.string())) for name in dict.fromkeys([*types, *names]) if name in whole[0]]
    return pa.RecordBatch.from_pylist(whole, schema=pa.schema(fields))
