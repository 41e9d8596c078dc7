-- Ten minutes of base_edges_1m in one row: a window that begins and ends anywhere in an hour reads at most 18 minutes and
-- 10 of these on its ragged ends, not 118 minutes.
CREATE TABLE base_edges_10m (
    received_on    Date,
    start          DateTime64(0, 'UTC') CODEC(Delta, LZ4),
    edge_id        UInt64,
    requests       SimpleAggregateFunction(sum, UInt64),
    errors         SimpleAggregateFunction(sum, UInt64),
    denied         SimpleAggregateFunction(sum, UInt64),
    timed          SimpleAggregateFunction(sum, UInt64),
    sized          SimpleAggregateFunction(sum, UInt64),
    bytes_sent     SimpleAggregateFunction(sum, UInt64),
    bytes_received SimpleAggregateFunction(sum, UInt64),
    log_us_sum     SimpleAggregateFunction(sum, Float64),
    log_us_sum2    SimpleAggregateFunction(sum, Float64),
    statuses       SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)) CODEC(LZ4),
    grpc_statuses  SimpleAggregateFunction(sumMap, Map(UInt8, UInt64)) CODEC(LZ4),
    faults         SimpleAggregateFunction(sumMap, Map(String, UInt64)) CODEC(LZ4),
    histogram      SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) CODEC(LZ4),
    first_ts       SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_ts        SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
PARTITION BY received_on
ORDER BY (start, edge_id, received_on)
SETTINGS non_replicated_deduplication_window = 100000, min_parts_to_merge_at_once = 10
