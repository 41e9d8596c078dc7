-- Policies as they were loaded, in versions: a set holds from `valid_from` until the next one does. Row 0 of a set stands for
-- the set itself, so that an empty one can be told from none; of two sets of one time the one loaded last holds.
CREATE TABLE policies (
    valid_from DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    set_id     String CODEC(ZSTD(1)),
    place      UInt32,
    engine     LowCardinality(String),
    kind       LowCardinality(String),
    namespace  LowCardinality(String),
    name       String CODEC(ZSTD(1)),
    file       String CODEC(ZSTD(1)),
    line       UInt32,
    document   String CODEC(ZSTD(3)),
    loaded_at  DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(loaded_at)
ORDER BY (valid_from, set_id, place)
SETTINGS non_replicated_deduplication_window = 100000
