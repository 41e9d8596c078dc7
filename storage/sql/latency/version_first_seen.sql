-- When some edges were seen first, over all that is kept: which of two versions is the older one.
-- Inputs: ids (edge ids), row_limit (rows). Output: one row per edge: edge_id, first_ts (UTC).
SELECT edge_id, min(first_ts) AS first_ts
FROM (
    SELECT edge_id, first_ts FROM edge_ledger WHERE edge_id IN {ids:Array(UInt64)}
    UNION ALL
    SELECT edge_id, first_ts
    FROM derived_edges_1h
    WHERE edge_id IN {ids:Array(UInt64)}
        AND (kind, hour, generation) IN (
            SELECT kind, period, max(generation) FROM derived_periods WHERE grain = '1h' GROUP BY kind, period)
)
GROUP BY edge_id
ORDER BY edge_id
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
