-- What names of operations rest on, in versions that are only ever added: rules and limits of the settings, and what was learnt of
-- each service. A batch's bounds name the version it was decoded with, so that a replay gives the same rows.
CREATE TABLE operations (
    version    UInt64,
    kind       LowCardinality(String),
    namespace  LowCardinality(String),
    service    LowCardinality(String),
    texts      Array(String),
    written_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (kind, namespace, service, version)
SETTINGS non_replicated_deduplication_window = 100000
