-- Per minute and edge key (ADR 001): counts, sums and the mergeable latency histogram, from log lines alone.
-- histogram: bucket -> count; bucket -1 holds durations of 0 us, bucket i >= 0 those in (g^(i-1), g^i] us with g = 1.01/0.99,
-- so that the bucket's value 2 g^i / (g + 1) is within 1 % of any duration in it (Masson et al., DDSketch, 2019).
CREATE TABLE edges_1m (
    received_on    Date,
    minute         DateTime64(0, 'UTC'),
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
PARTITION BY received_on
ORDER BY (minute, edge_id, received_on)
SETTINGS non_replicated_deduplication_window = 100000, min_parts_to_merge_at_once = 10
