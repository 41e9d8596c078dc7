-- How many calls some edges had by minute, or by hour where minutes are no longer kept; several rows may be of one edge and period.
-- Inputs: grain_s (60 = minutes, 3600 = hours), ids (edge ids), since, until (UTC seconds), row_limit (rows).
-- Output: edge_id, moment (begin of the period, UTC seconds since 1970), requests, errors.
SELECT edge_id, moment, requests, errors
FROM (
    SELECT edge_id, toUnixTimestamp(minute) AS moment, requests, errors
    FROM edges_1m
    WHERE {grain_s:UInt32} = 60 AND minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}
        AND edge_id IN {ids:Array(UInt64)}
    UNION ALL
    SELECT edge_id, toUnixTimestamp(hour) AS moment, requests, errors
    FROM edges_1h
    WHERE {grain_s:UInt32} = 3600 AND hour >= {since:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}
        AND edge_id IN {ids:Array(UInt64)}
    UNION ALL
    SELECT edge_id, toUnixTimestamp(minute) AS moment, requests, errors
    FROM derived_edges_1m
    WHERE {grain_s:UInt32} = 60 AND minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}
        AND edge_id IN {ids:Array(UInt64)}
        AND (kind, minute, generation) IN (
            SELECT kind, period, max(generation) FROM derived_periods
            WHERE grain = '1m' AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
            GROUP BY kind, period)
    UNION ALL
    SELECT edge_id, toUnixTimestamp(hour) AS moment, requests, errors
    FROM derived_edges_1h
    WHERE {grain_s:UInt32} = 3600 AND hour >= {since:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}
        AND edge_id IN {ids:Array(UInt64)}
        AND (kind, hour, generation) IN (
            SELECT kind, period, max(generation) FROM derived_periods
            WHERE grain = '1h' AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
            GROUP BY kind, period)
)
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
