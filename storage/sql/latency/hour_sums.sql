-- Sums of every edge by hour, for changes that are too slow for minutes to show.
-- Inputs: since, until (UTC seconds; hours that begin in [since, until)), row_limit (rows).
-- Output: as minute_sums.sql, `minute` being the begin of the hour.
SELECT
    edge_id,
    toUnixTimestamp(hour) AS minute,
    timed AS calls,
    log_us_sum AS log_sum,
    log_us_sum2 AS log_sum2,
    requests,
    errors
FROM edges_1h
WHERE hour >= {since:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}
LIMIT {row_limit:UInt64}
UNION ALL
SELECT
    edge_id,
    toUnixTimestamp(hour) AS minute,
    if(kind = 'metric', 0, timed) AS calls,
    log_us_sum AS log_sum,
    log_us_sum2 AS log_sum2,
    requests,
    errors
FROM derived_edges_1h
WHERE hour >= {since:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}
    AND (kind, hour, generation) IN (
        SELECT kind, period, max(generation) FROM derived_periods
        WHERE grain = '1h' AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
        GROUP BY kind, period)
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
