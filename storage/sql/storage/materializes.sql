-- Whether the engine can keep what a WITH clause selects instead of selecting it anew at every use. ClickHouse can since
-- some 26.x, and failed at times ("before it has been materialized") until it was mended in several of them: 26.9 is the
-- first that this was tried with. Not where spans are spread over shards: there the clause would be kept by each of them.
-- Output: able (UInt8).
SELECT
    (arrayMap(part -> toUInt32OrZero(part), splitByChar('.', version())) AS parts)[1] * 1000 + parts[2] >= 26009
    AND (SELECT count() FROM system.tables WHERE database = currentDatabase() AND engine = 'Distributed') = 0 AS able
