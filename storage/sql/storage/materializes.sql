-- Whether the engine can keep what a WITH clause selects instead of selecting it anew at every use. ClickHouse can since
-- some 26.x, and failed at times ("before it has been materialized") until it was mended in several of them: 26.9 is the
-- first that this was tried with. Not where `spans` is no table of this server's own: it is read on others then.
-- Output: able (UInt8).
SELECT
    (arrayMap(part -> toUInt32OrZero(part), splitByChar('.', version())) AS parts)[1] * 1000 + parts[2] >= 26009
    AND (SELECT count() FROM system.tables
        WHERE database = currentDatabase() AND name = 'spans' AND endsWith(engine, 'MergeTree')) = 1 AS able
