-- What each edge id stands for (ADR 001). Announced by the ingester before the rows that use it; announcing twice is harmless.
CREATE TABLE edge_keys (
    edge_id               UInt64 CODEC(T64, ZSTD(1)),
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
    received_on           Date
)
ENGINE = ReplacingMergeTree(received_on)
ORDER BY edge_id
SETTINGS non_replicated_deduplication_window = 100000
