"""Decode lines of proxies for tests: rows in the order of their lines, without what is empty."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from collector.decode.registry import decoder
from collector.identity.addresses import AddressBook, complete
from tests.collector.identity.rows import logged_fields, plain


def decoded(*lines: str, format: str = "auto", book: AddressBook | None = None, rows: int = 0) -> list[dict[str, Any]]:
    """Completed rows, `rows` or as many as lines; `logged` as names. No line may be refused."""
    found = decoder(format).decode(pa.array([line.encode() for line in lines], pa.large_binary()))
    assert list(found.dead) == []
    made = plain(complete(found.tables["calls"], book or AddressBook()))
    made.sort(key=lambda row: (row.get("_message", 0), row.get("_record", 0)))
    assert len(made) == (rows or len(lines))
    for row in made:
        row.pop("raw")
        row["logged"] = logged_fields(row["logged"])
        row["attributes"] = dict(row.get("attributes", ()))
        row.pop("_message", None)
    return made


def reasons(*lines: str, format: str = "auto") -> list[str]:
    """Why lines are refused; none may become a row."""
    found = decoder(format).decode(pa.array([line.encode() for line in lines], pa.large_binary()))
    assert found.tables == {}
    return [letter.reason for letter in found.dead]
