-- How many spans each minute holds: a minute whose count differs from what its trace edges were derived from is derived again.
CREATE TABLE span_minutes (
    minute      DateTime64(0, 'UTC'),
    received_on SimpleAggregateFunction(max, Date),
    records     SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY minute
SETTINGS non_replicated_deduplication_window = 100000
