-- How the counted requests of base edges are spread over statuses, faults and durations, as one rollup has it: rows as they
-- lie, since putting their lists together takes the engine several times as long as NumPy (analyzers/dependencies/spread.py).
--
-- Edges are chosen by who reports them or, if they are few, by their ids: thousands of ids as literals would take longer to
-- read than the rows.
-- Inputs: those of edge_sums.sql; reporters; ids (neither list is empty: 0 is no edge's id).
-- Output: one row per row of the rollup: id, and of each map its keys and its counts.
SELECT
    {edge:Identifier} AS id,
    histogram.keys AS buckets,
    histogram.values AS hits,
    statuses.keys AS statuses,
    statuses.values AS status_counts,
    grpc_statuses.keys AS grpc_statuses,
    grpc_statuses.values AS grpc_status_counts,
    faults.keys AS faults,
    faults.values AS fault_counts
FROM {rollup:Identifier}
WHERE {arrived:Identifier} < {before:Date}
    AND (({time:Identifier} >= {since:DateTime64(0, 'UTC')} AND {time:Identifier} < {until:DateTime64(0, 'UTC')})
        OR ({time:Identifier} >= {again_since:DateTime64(0, 'UTC')} AND {time:Identifier} < {again_until:DateTime64(0, 'UTC')}))
    AND (id IN {ids:Array(UInt64)}
        OR id IN (SELECT edge_id FROM edge_keys WHERE operation = '' AND reporter IN {reporters:Array(String)}))
LIMIT {row_limit:UInt64}
