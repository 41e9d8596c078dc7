-- Latency histograms that metrics brought, with their own bounds, of groups of base edges. The window is cut as
-- analyzers/dependencies/windows.py says.
-- Only derived edges have any, so only these are read, of the current generation.
-- Inputs (UTC seconds): since <= hours_since <= days_since <= days_until <= hours_until <= until; edge_ids and the group of
-- each (groups); row_limit (rows). Output: one row per group; bounds_histogram: (upper bound in us, count) pairs, sorted.
WITH
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1m) AS derived_minutes_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1h) AS derived_hours_kept_from,
    current AS (
        SELECT grain, period, max(generation) AS generation FROM derived_periods
        WHERE kind = 'metric' AND period >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND period < {until:DateTime64(0, 'UTC')}
        GROUP BY grain, period
    ),
    edge_rows AS (
        SELECT base_edge_id AS edge_id, bounds_histogram
        FROM derived_edges_1m
        WHERE kind = 'metric' AND base_edge_id IN {edge_ids:Array(UInt64)}
            AND ((minute >= {since:DateTime64(0, 'UTC')} AND minute < {hours_since:DateTime64(0, 'UTC')})
                OR (minute >= {hours_until:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}))
            AND ('1m', minute, generation) IN (SELECT grain, period, generation FROM current)
        UNION ALL
        SELECT base_edge_id AS edge_id, bounds_histogram
        FROM derived_edges_1h
        WHERE kind = 'metric' AND base_edge_id IN {edge_ids:Array(UInt64)}
            AND ((hour >= {hours_since:DateTime64(0, 'UTC')} AND hour < {days_since:DateTime64(0, 'UTC')})
                OR (hour >= {days_until:DateTime64(0, 'UTC')} AND hour < {hours_until:DateTime64(0, 'UTC')})
                OR (derived_on < derived_minutes_kept_from
                    AND ((hour >= toStartOfHour({since:DateTime64(0, 'UTC')}) AND hour < {hours_since:DateTime64(0, 'UTC')})
                        OR (hour >= {hours_until:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}))))
            AND ('1h', hour, generation) IN (SELECT grain, period, generation FROM current)
        UNION ALL
        SELECT edge_id, bounds_histogram
        FROM derived_edges_1d
        WHERE kind = 'metric' AND edge_id IN {edge_ids:Array(UInt64)}
            AND ((day >= {days_since:DateTime64(0, 'UTC')} AND day < {days_until:DateTime64(0, 'UTC')})
                OR (derived_on < derived_hours_kept_from AND day >= toStartOfDay({since:DateTime64(0, 'UTC')}) AND day < {until:DateTime64(0, 'UTC')}))
            AND ('1d', day, generation) IN (SELECT grain, period, generation FROM current)
    )
SELECT
    transform(edge_id, {edge_ids:Array(UInt64)}, {groups:Array(UInt32)}, toUInt32(0)) AS group_number,
    sumMap(bounds_histogram) AS bounds_histogram
FROM edge_rows
GROUP BY group_number
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
