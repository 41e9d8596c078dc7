-- How many metric points each minute holds that speak of edges: a minute whose count differs from what its edges were derived from is derived again.
CREATE TABLE metric_minutes (
    minute      DateTime64(0, 'UTC'),
    received_on SimpleAggregateFunction(max, Date),
    records     SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY minute
SETTINGS non_replicated_deduplication_window = 100000
