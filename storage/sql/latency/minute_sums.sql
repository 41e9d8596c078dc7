-- Sums of every edge by minute, as the rollups have them: several rows may be of one edge and minute.
-- Latencies that only metrics know have no sums.
-- Inputs: since, until (UTC seconds), ids (edge ids; none = all), row_limit (rows).
-- Output: edge_id, minute (UTC seconds), calls (with a duration), log_sum, log_sum2 (of the natural log of us), requests, errors.
SELECT
    edge_id,
    toUnixTimestamp(minute) AS minute,
    timed AS calls,
    log_us_sum AS log_sum,
    log_us_sum2 AS log_sum2,
    requests,
    errors
FROM edges_1m
WHERE minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}
    AND (empty({ids:Array(UInt64)}) OR edge_id IN {ids:Array(UInt64)})
LIMIT {row_limit:UInt64}
UNION ALL
SELECT
    edge_id,
    toUnixTimestamp(minute) AS minute,
    if(kind = 'metric', 0, timed) AS calls,
    log_us_sum AS log_sum,
    log_us_sum2 AS log_sum2,
    requests,
    errors
FROM derived_edges_1m
WHERE minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}
    AND (kind, minute, generation) IN (
        SELECT kind, period, max(generation) FROM derived_periods
        WHERE grain = '1m' AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
        GROUP BY kind, period)
    AND (empty({ids:Array(UInt64)}) OR edge_id IN {ids:Array(UInt64)})
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
