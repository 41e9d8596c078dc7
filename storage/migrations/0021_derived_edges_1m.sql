-- Edges that no view can make: from span pairs (kind trace), calls known by address (kind address) and metrics (kind metric).
-- bounds_histogram: latencies that only metrics know, in their own buckets: upper bound in us (the largest UInt64 = none) -> count.
-- A derivation writes a whole minute under a new generation; derived_periods says which generation of a minute counts.
CREATE TABLE derived_edges_1m (
    kind                  LowCardinality(String),
    minute                DateTime64(0, 'UTC'),
    edge_id               UInt64,
    base_edge_id          UInt64,
    derived_on            Date,
    generation            UInt64,
    evidence              LowCardinality(String),
    reporter              LowCardinality(String),
    direction             LowCardinality(String),
    protocol              LowCardinality(String),
    tls                   LowCardinality(String),
    source_cluster        LowCardinality(String),
    source_namespace      LowCardinality(String),
    source_workload       LowCardinality(String),
    source_service        LowCardinality(String),
    source_version        LowCardinality(String),
    source_principal      LowCardinality(String),
    destination_cluster   LowCardinality(String),
    destination_namespace LowCardinality(String),
    destination_workload  LowCardinality(String),
    destination_service   LowCardinality(String),
    destination_version   LowCardinality(String),
    destination_principal LowCardinality(String),
    operation             LowCardinality(String),
    requests              UInt64,
    errors                UInt64,
    denied                UInt64,
    timed                 UInt64,
    sized                 UInt64,
    bytes_sent            UInt64,
    bytes_received        UInt64,
    log_us_sum            Float64,
    log_us_sum2           Float64,
    statuses              Map(UInt16, UInt64) CODEC(ZSTD(1)),
    grpc_statuses         Map(UInt8, UInt64) CODEC(ZSTD(1)),
    faults                Map(String, UInt64) CODEC(ZSTD(1)),
    histogram             Map(Int16, UInt64) CODEC(ZSTD(1)),
    bounds_histogram      Map(UInt64, UInt64) CODEC(ZSTD(1)),
    first_ts              DateTime64(6, 'UTC'),
    last_ts               DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(generation)
PARTITION BY derived_on
ORDER BY (kind, minute, edge_id)
SETTINGS non_replicated_deduplication_window = 100000
