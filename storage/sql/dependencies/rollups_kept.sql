-- From which arrival day on each rollup keeps its rows; what came before is in coarser ones only.
-- Inputs: none. Output: one row per rollup with rows: rollup (table), kept_from (day).
SELECT rollup, kept_from
FROM (
    SELECT 'base_edges_1m' AS rollup, count() AS n, min(received_on) AS kept_from FROM base_edges_1m
    UNION ALL SELECT 'base_edges_10m', count(), min(received_on) FROM base_edges_10m
    UNION ALL SELECT 'base_edges_1h', count(), min(received_on) FROM base_edges_1h
    UNION ALL SELECT 'base_edges_6h', count(), min(received_on) FROM base_edges_6h
    UNION ALL SELECT 'edges_1d', count(), min(received_on) FROM edges_1d
    UNION ALL SELECT 'derived_edges_1m', count(), min(derived_on) FROM derived_edges_1m
    UNION ALL SELECT 'derived_edges_1h', count(), min(derived_on) FROM derived_edges_1h
    UNION ALL SELECT 'derived_edges_1d', count(), min(derived_on) FROM derived_edges_1d
)
WHERE n > 0
