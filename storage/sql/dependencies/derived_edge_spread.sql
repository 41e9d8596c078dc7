-- edge_spread.sql for a rollup of derived edges: rows of the current generation only.
-- Inputs: those of edge_spread.sql; grain ('1m', '1h' or '1d'), by which derived_periods knows the rollup.
-- Output: that of edge_spread.sql.
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
    AND (kind, {time:Identifier}, generation) IN (
        SELECT kind, period, max(generation) FROM derived_periods
        WHERE grain = {grain:String}
            AND ((period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')})
                OR (period >= {again_since:DateTime64(0, 'UTC')} AND period < {again_until:DateTime64(0, 'UTC')}))
        GROUP BY kind, period)
    AND (id IN {ids:Array(UInt64)}
        OR id IN (SELECT edge_id FROM edge_keys WHERE operation = '' AND reporter IN {reporters:Array(String)}))
LIMIT {row_limit:UInt64}
