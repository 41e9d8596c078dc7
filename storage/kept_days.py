"""How long the rows of a table stand, as the store itself says: `storage.retention` declares it, readers ask here."""

from __future__ import annotations

import re

from storage.engine import Engine
from storage.placement import local
from storage.sql import load

_ROW_TTL = re.compile(r"\sTTL\s+[^,]*?(?:toIntervalDay\((\d+)\)|INTERVAL (\d+) DAY)")


def kept_days(engine: Engine, table: str) -> int:
    """Days that the TTL of `table` adds to the date of a row until it expires; 0 = never, or there is no such table.

    Args:
        table: its name for readers; on a cluster the TTL stands on the nodes' own tables.

    Raises:
        BadStatement: `storage.placement` does not know the table.
    """
    standing = engine.query(load("storage/table_definitions").text).to_pylist()
    found = [row["ddl"] for row in standing if row["name"] in (table, local(table))]
    # Behind ORDER BY: a TTL before it is a column's.
    ttls = [_ROW_TTL.search(ddl[ddl.rfind(" ORDER BY ") :]) for ddl in found]
    return max((int(ttl[1] or ttl[2]) for ttl in ttls if ttl), default=0)
