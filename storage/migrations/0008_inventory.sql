-- Objects of the platform as they were loaded, each with its validity in time.
CREATE TABLE inventory (
    kind            LowCardinality(String),
    cluster         LowCardinality(String),
    namespace       LowCardinality(String),
    name            String CODEC(ZSTD(1)),
    uid             String CODEC(ZSTD(1)),
    labels          Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    annotations     Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    addresses       Array(String),
    service_account LowCardinality(String),
    owner_kind      LowCardinality(String),
    owner_name      LowCardinality(String),
    selector        Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ports           Array(String),
    has_sidecar     UInt8,
    valid_from      DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    valid_to        DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    loaded_at       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(loaded_at)
ORDER BY (kind, cluster, namespace, name, uid, valid_from)
SETTINGS non_replicated_deduplication_window = 100000
