-- Who failed on each base edge, as one rollup has it: rows as they lie, of those that tell of any. Few do, so this costs less
-- than a column of edge_sums.sql would.
-- Inputs: those of edge_sums.sql.
-- Output: one row per row of the rollup: id, and of the map its keys and its counts.
SELECT
    {edge:Identifier} AS id,
    faults.keys AS faults,
    faults.values AS fault_counts
FROM {rollup:Identifier}
WHERE {arrived:Identifier} < {before:Date}
    AND (({time:Identifier} >= {since:DateTime64(0, 'UTC')} AND {time:Identifier} < {until:DateTime64(0, 'UTC')})
        OR ({time:Identifier} >= {again_since:DateTime64(0, 'UTC')} AND {time:Identifier} < {again_until:DateTime64(0, 'UTC')}))
    AND notEmpty(faults.keys)
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
