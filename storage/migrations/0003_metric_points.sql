-- One OTLP data point of any type; unused value columns stay at their defaults.
CREATE TABLE metric_points (
    ts              DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    start_ts        DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at     DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    name            LowCardinality(String),
    unit            LowCardinality(String),
    type            LowCardinality(String),
    temporality     LowCardinality(String),
    monotonic       UInt8,
    cluster         LowCardinality(String),
    namespace       LowCardinality(String),
    service         LowCardinality(String),
    workload        LowCardinality(String),
    version         LowCardinality(String),
    pod             LowCardinality(String),
    attributes      Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    resource        Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    scope           LowCardinality(String),
    value           Float64 CODEC(ZSTD(1)),
    count           UInt64 CODEC(T64, ZSTD(1)),
    sum             Float64 CODEC(ZSTD(1)),
    min             Float64,
    max             Float64,
    bounds          Array(Float64),
    bucket_counts   Array(UInt64),
    scale           Int32,
    zero_count      UInt64 CODEC(T64, ZSTD(1)),
    positive_offset Int32,
    positive_counts Array(UInt64),
    negative_offset Int32,
    negative_counts Array(UInt64),
    quantiles       Array(Float64),
    quantile_values Array(Float64),
    flags           UInt32,
    topic           LowCardinality(String),
    partition       Int32,
    offset          Int64 CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(received_at)
ORDER BY (name, service, ts)
SETTINGS non_replicated_deduplication_window = 100000, min_parts_to_merge_at_once = 10
