-- The minutes of edges_1m by base edge, without the operation: what the map reads (ADR 003). edge_id is the base edge's.
-- LZ4 everywhere: these rows are read whole by every map, and the time of a read is the time of unpacking.
CREATE TABLE base_edges_1m (
    received_on    Date,
    minute         DateTime64(0, 'UTC') CODEC(Delta, LZ4),
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
ORDER BY (minute, edge_id, received_on)
SETTINGS non_replicated_deduplication_window = 100000, min_parts_to_merge_at_once = 10
