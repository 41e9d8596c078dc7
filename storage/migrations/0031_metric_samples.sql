-- What a metric point says of an edge: one row a point, in one shape whatever the mesh. Edges of kind metric are derived from here.
-- minute: the one in which the point's interval ends; a point taken at a full minute closes the minute before it.
-- series: which points continue each other (metric, attributes, resource); target: who reported (resource).
-- count_rank, outcome_rank: a target may count the same requests in several metrics; of those that it reports in a minute
-- the highest rank counts requests, and statuses and errors. 0 = tells neither. measure: calls, denied (by policy), sent or received (bytes).
-- bounds .. positive_counts: the point's own latency histogram, in units of unit_us microseconds; empty unless timed.
CREATE TABLE metric_samples (
    minute                DateTime64(0, 'UTC'),
    ts                    DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    start_ts              DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    received_on           Date,
    series                UInt64,
    target                UInt64,
    system                LowCardinality(String),
    measure               LowCardinality(String),
    count_rank            UInt8,
    outcome_rank          UInt8,
    timed                 UInt8,
    cumulative            UInt8,
    amount                Float64 CODEC(ZSTD(1)),
    unit_us               Float64 CODEC(ZSTD(1)),
    bounds                Array(Float64) CODEC(ZSTD(1)),
    bucket_counts         Array(UInt64) CODEC(ZSTD(1)),
    scale                 Int32 CODEC(ZSTD(1)),
    zero_count            UInt64 CODEC(ZSTD(1)),
    positive_offset       Int32 CODEC(ZSTD(1)),
    positive_counts       Array(UInt64) CODEC(ZSTD(1)),
    failed                UInt8,
    status                Int32 CODEC(ZSTD(1)),
    grpc_status           Int32 CODEC(ZSTD(1)),
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
    destination_principal LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY toDate(received_on)
ORDER BY (minute, series)
SETTINGS non_replicated_deduplication_window = 100000, min_parts_to_merge_at_once = 10
