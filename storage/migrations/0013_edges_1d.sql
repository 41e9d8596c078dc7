-- The hours of base_edges_6h summed by day. Five buckets of the histogram become one:
-- bucket -1 stays, bucket i >= 0 goes to ceil(i / 5), whose ratio g^5 keeps the relative error below 5 %.
-- hours: bit h is set when hour h of the day has a row: with it a reader knows whether one reporter spoke in every hour.
CREATE TABLE edges_1d (
    received_on    Date,
    day            DateTime64(0, 'UTC'),
    edge_id        UInt64,
    hours          SimpleAggregateFunction(groupBitOr, UInt32),
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
PARTITION BY toYYYYMM(received_on)
ORDER BY (day, edge_id, received_on)
SETTINGS non_replicated_deduplication_window = 100000, min_parts_to_merge_at_once = 10
