"""How long the rows of a table stand, as the store itself says: `storage.retention` declares it, readers ask here."""

from __future__ import annotations

import re

from storage.engine import Engine
from storage.placement import local

_ROW_TTL = re.compile(r"\sTTL\s+[^,]*?(?:toIntervalDay\((\d+)\)|INTERVAL (\d+) DAY)")
_DDL = """
    SELECT create_table_query AS ddl FROM system.tables
    WHERE database = currentDatabase() AND name IN {names:Array(String)}
"""


def kept_days(engine: Engine, table: str) -> int:
    """Days that the TTL of `table` adds to the date of a row until it expires; 0 = never, or there is no such table.

    Args:
        table: its name for readers; on a cluster the TTL stands on the nodes' own tables.

    Raises:
        BadStatement: `storage.placement` does not know the table.
    """
    found = engine.query(_DDL, {"names": sorted({table, local(table)})})["ddl"].to_pylist()
    # Behind ORDER BY: a TTL before it is a column's.
    ttls = [_ROW_TTL.search(ddl[ddl.rfind(" ORDER BY ") :]) for ddl in found]
    return max((int(ttl[1] or ttl[2]) for ttl in ttls if ttl), default=0)
