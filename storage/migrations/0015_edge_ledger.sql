-- First and last time each edge key (edge, principals, versions, operation) was seen in log lines.
CREATE TABLE edge_ledger (
    edge_id     UInt64,
    first_ts    SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_ts     SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    received_on SimpleAggregateFunction(max, Date),
    requests    SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY edge_id
SETTINGS non_replicated_deduplication_window = 100000
