-- Whether the engine can keep what a WITH clause selects (ClickHouse 26 can) instead of selecting it anew at every use.
-- Not where spans are spread over shards: there the clause would be kept by each of them.
-- Output: able (UInt8).
SELECT
    (SELECT count() FROM system.settings WHERE name = 'enable_materialized_cte') = 1
    AND (SELECT count() FROM system.tables WHERE database = currentDatabase() AND engine = 'Distributed') = 0 AS able
