-- Latency histograms of some edges over a window, and how many calls there were; what `blame` compares.
-- Inputs: ids (edge ids), since, until (UTC seconds), row_limit (rows).
-- Output: one row per edge: edge_id, requests, errors, histogram (bucket -> calls).
SELECT edge_id, sum(requests) AS requests, sum(errors) AS errors, sumMap(histogram) AS histogram
FROM (
    SELECT edge_id, requests, errors, histogram
    FROM edges_1m
    WHERE minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')} AND edge_id IN {ids:Array(UInt64)}
    UNION ALL
    SELECT edge_id, requests, errors, histogram
    FROM derived_edges_1m
    WHERE minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')} AND edge_id IN {ids:Array(UInt64)}
        AND (kind, minute, generation) IN (
            SELECT kind, period, max(generation) FROM derived_periods
            WHERE grain = '1m' AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
            GROUP BY kind, period)
)
GROUP BY edge_id
ORDER BY edge_id
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
