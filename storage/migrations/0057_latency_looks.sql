-- Moments at which edges were looked at for regressions: how many tests there were, and how many candidates went on after each stage.
CREATE TABLE latency_looks (
    at        DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    tested    UInt64,
    survivors Map(LowCardinality(String), UInt64),
    found_at  DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(found_at)
ORDER BY at
SETTINGS non_replicated_deduplication_window = 100000
