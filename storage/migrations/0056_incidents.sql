-- Findings that are one story, one row an incident, replaced when it grows or somebody closes it. 1970 = not closed.
CREATE TABLE incidents (
    id          String,
    state       LowCardinality(String),
    severity    LowCardinality(String),
    summary     String CODEC(ZSTD(1)),
    principals  Array(LowCardinality(String)),
    services    Array(LowCardinality(String)),
    path        Array(LowCardinality(String)),
    findings    Array(String),
    started     DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    updated     DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    techniques  Array(LowCardinality(String)),
    note        String CODEC(ZSTD(1)),
    merged_into String,
    closed_at   DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    kept_at     DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(kept_at)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 100000
