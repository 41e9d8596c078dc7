-- The current minutes of derived_edges_1m summed by hour.
-- Generations as there.
CREATE TABLE derived_edges_1h (
    kind             LowCardinality(String),
    hour             DateTime64(0, 'UTC'),
    edge_id          UInt64,
    base_edge_id     UInt64,
    derived_on       Date,
    generation       UInt64,
    requests         UInt64,
    errors           UInt64,
    denied           UInt64,
    timed            UInt64,
    sized            UInt64,
    bytes_sent       UInt64,
    bytes_received   UInt64,
    log_us_sum       Float64,
    log_us_sum2      Float64,
    statuses         Map(UInt16, UInt64) CODEC(ZSTD(1)),
    grpc_statuses    Map(UInt8, UInt64) CODEC(ZSTD(1)),
    faults           Map(String, UInt64) CODEC(ZSTD(1)),
    histogram        Map(Int16, UInt64) CODEC(ZSTD(1)),
    bounds_histogram Map(UInt64, UInt64) CODEC(ZSTD(1)),
    first_ts         DateTime64(6, 'UTC'),
    last_ts          DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(generation)
PARTITION BY toYYYYMM(derived_on)
ORDER BY (kind, hour, edge_id)
SETTINGS non_replicated_deduplication_window = 100000
