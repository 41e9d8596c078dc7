-- Latency histograms of some edges by minute; several rows may be of one edge and minute.
-- Inputs: ids (edge ids), since, until (UTC seconds), row_limit (rows).
-- Output: edge_id, minute (UTC seconds), histogram (bucket -> calls).
SELECT edge_id, toUnixTimestamp(minute) AS minute, histogram
FROM edges_1m
WHERE minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')} AND edge_id IN {ids:Array(UInt64)}
LIMIT {row_limit:UInt64}
UNION ALL
SELECT edge_id, toUnixTimestamp(minute) AS minute, histogram
FROM derived_edges_1m
WHERE minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')} AND edge_id IN {ids:Array(UInt64)}
    AND kind != 'metric'
    AND (kind, minute, generation) IN (
        SELECT kind, period, max(generation) FROM derived_periods
        WHERE grain = '1m' AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
        GROUP BY kind, period)
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
