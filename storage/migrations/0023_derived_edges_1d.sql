-- The current minutes of derived_edges_1m summed by day and base edge (no operation), with the histogram of edges_1d.
-- Generations as there, `hours` as in edges_1d.
CREATE TABLE derived_edges_1d (
    kind             LowCardinality(String),
    day              DateTime64(0, 'UTC'),
    edge_id          UInt64,
    hours            UInt32,
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
ORDER BY (kind, day, edge_id)
SETTINGS non_replicated_deduplication_window = 100000
