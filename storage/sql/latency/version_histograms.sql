-- Latency histograms of some edges in chosen minutes (or hours), merged by slot of time: what two versions are compared by.
-- Metrics keep bounds of their own and have no histogram of this kind.
-- Inputs: grain_s (60 = minutes, 3600 = hours), ids (edge ids), moments (begins of the periods that count, UTC seconds since 1970),
-- slot_s (length of a slot), since, until (UTC seconds), row_limit (rows).
-- Output: one row per edge and slot: edge_id, slot (number of slots since `since`), histogram (bucket -> calls).
SELECT
    edge_id,
    toInt64(intDiv(moment - toUnixTimestamp({since:DateTime64(0, 'UTC')}), {slot_s:UInt32})) AS slot,
    sumMap(histogram) AS histogram
FROM (
    SELECT edge_id, toUnixTimestamp(minute) AS moment, histogram
    FROM edges_1m
    WHERE {grain_s:UInt32} = 60 AND minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}
        AND edge_id IN {ids:Array(UInt64)}
    UNION ALL
    SELECT edge_id, toUnixTimestamp(hour) AS moment, histogram
    FROM edges_1h
    WHERE {grain_s:UInt32} = 3600 AND hour >= {since:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}
        AND edge_id IN {ids:Array(UInt64)}
    UNION ALL
    SELECT edge_id, toUnixTimestamp(minute) AS moment, histogram
    FROM derived_edges_1m
    WHERE {grain_s:UInt32} = 60 AND minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}
        AND edge_id IN {ids:Array(UInt64)} AND kind != 'metric'
        AND (kind, minute, generation) IN (
            SELECT kind, period, max(generation) FROM derived_periods
            WHERE grain = '1m' AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
            GROUP BY kind, period)
    UNION ALL
    SELECT edge_id, toUnixTimestamp(hour) AS moment, histogram
    FROM derived_edges_1h
    WHERE {grain_s:UInt32} = 3600 AND hour >= {since:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}
        AND edge_id IN {ids:Array(UInt64)} AND kind != 'metric'
        AND (kind, hour, generation) IN (
            SELECT kind, period, max(generation) FROM derived_periods
            WHERE grain = '1h' AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
            GROUP BY kind, period)
)
WHERE moment IN {moments:Array(UInt32)}
GROUP BY edge_id, slot
ORDER BY edge_id, slot
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
