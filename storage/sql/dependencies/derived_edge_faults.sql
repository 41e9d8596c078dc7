-- edge_faults.sql for a rollup of derived edges: rows of the current generation only.
-- Inputs: those of edge_faults.sql; grain ('1m', '1h' or '1d'), by which derived_periods knows the rollup.
-- Output: that of edge_faults.sql.
SELECT
    {edge:Identifier} AS id,
    faults.keys AS faults,
    faults.values AS fault_counts
FROM {rollup:Identifier}
WHERE {arrived:Identifier} < {before:Date}
    AND (({time:Identifier} >= {since:DateTime64(0, 'UTC')} AND {time:Identifier} < {until:DateTime64(0, 'UTC')})
        OR ({time:Identifier} >= {again_since:DateTime64(0, 'UTC')} AND {time:Identifier} < {again_until:DateTime64(0, 'UTC')}))
    AND notEmpty(faults.keys)
    AND (kind, {time:Identifier}, generation) IN (
        SELECT kind, period, max(generation) FROM derived_periods
        WHERE grain = {grain:String}
            AND ((period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')})
                OR (period >= {again_since:DateTime64(0, 'UTC')} AND period < {again_until:DateTime64(0, 'UTC')}))
        GROUP BY kind, period)
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
