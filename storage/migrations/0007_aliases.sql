-- Which address, principal, workload or bare name is which namespace and service, and when.
CREATE TABLE aliases (
    kind            LowCardinality(String),
    cluster         LowCardinality(String),
    name_namespace  LowCardinality(String),
    name            String CODEC(ZSTD(1)),
    valid_from      DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    valid_to        DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    namespace       LowCardinality(String),
    workload        LowCardinality(String),
    service         LowCardinality(String),
    service_account LowCardinality(String),
    pod             LowCardinality(String),
    version         LowCardinality(String),
    is_gateway      UInt8,
    evidence        LowCardinality(String),
    loaded_at       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(loaded_at)
ORDER BY (kind, cluster, name_namespace, name, valid_from, evidence)
SETTINGS non_replicated_deduplication_window = 100000
