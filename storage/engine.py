"""What every engine can do. `embedded` (chDB), `server` (clickhouse-driver) and `attached` (the socket of whoever holds
an embedded store) implement it; nothing above this room knows which one it talks to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

Settings = Mapping[str, str | int | float]


@runtime_checkable
class Engine(Protocol):
    """A ClickHouse store. Every method may be called from any thread.

    Results have the same Arrow types on every engine: String and LowCardinality(String) are `pa.string()`
    (`pa.binary()` when a value is not UTF-8), DateTime is `timestamp('s', 'UTC')`, DateTime64(n) is
    `timestamp(unit, 'UTC')`, Date is `date32`, IPv6 is `binary(16)`, Map is `map_`, Array is `list_`, Nullable is null.
    A type outside `storage.tables` is cast in SQL (`toString(uuid)`): engines may differ on it.

    Errors are those of `storage.errors`; `EngineUnavailable` is the only one that a retry can mend.
    """

    @property
    def location(self) -> str:
        """Where the data is, for people: `chdb:PATH` or `clickhouse://host:port/db` (never with a password)."""
        ...

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        settings: Settings | None = None,
        external: Mapping[str, pa.Table] | None = None,
    ) -> pa.Table:
        """Run one SELECT and return its whole result.

        `parameters` fill `{name:Type}` holes. `external` are tables that the statement may read by name,
        for this query only.
        """
        ...

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        """Insert `batch`, whose columns are a subset of the table's, as one block.

        A second insert with the same `token` has no effect, on the table and on every view below it.
        """
        ...

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, settings: Settings | None = None
    ) -> None:
        """Run one statement that returns nothing (DDL, INSERT ... SELECT, ALTER)."""
        ...

    def close(self) -> None:
        """Release the store. Calling it twice is fine."""
        ...
