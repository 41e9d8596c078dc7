-- The minutes of edges_1m summed by hour.
CREATE TABLE edges_1h (
    received_on    Date,
    hour           DateTime64(0, 'UTC'),
    edge_id        UInt64,
    base_edge_id   SimpleAggregateFunction(any, UInt64),
    requests       SimpleAggregateFunction(sum, UInt64),
    errors         SimpleAggregateFunction(sum, UInt64),
    denied         SimpleAggregateFunction(sum, UInt64),
    timed          SimpleAggregateFunction(sum, UInt64),
    sized          SimpleAggregateFunction(sum, UInt64),
    bytes_sent     SimpleAggregateFunction(sum, UInt64),
    bytes_received SimpleAggregateFunction(sum, UInt64),
    log_us_sum     SimpleAggregateFunction(sum, Float64),
    log_us_sum2    SimpleAggregateFunction(sum, Float64),
    statuses       SimpleAggregateFunction(sumMap, Map(UInt16, UInt64)) CODEC(ZSTD(1)),
    grpc_statuses  SimpleAggregateFunction(sumMap, Map(UInt8, UInt64)) CODEC(ZSTD(1)),
    faults         SimpleAggregateFunction(sumMap, Map(String, UInt64)) CODEC(ZSTD(1)),
    histogram      SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) CODEC(ZSTD(1)),
    first_ts       SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_ts        SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(received_on)
ORDER BY (hour, edge_id, received_on)
SETTINGS non_replicated_deduplication_window = 100000, min_parts_to_merge_at_once = 10
