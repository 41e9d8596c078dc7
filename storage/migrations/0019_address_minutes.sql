-- How many calls of each minute know their caller or destination by address only: their edges are derived, not counted by views.
CREATE TABLE address_minutes (
    minute      DateTime64(0, 'UTC'),
    received_on SimpleAggregateFunction(max, Date),
    records     SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY minute
SETTINGS non_replicated_deduplication_window = 100000
