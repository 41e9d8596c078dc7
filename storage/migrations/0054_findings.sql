-- What analyzers found, one row an episode; a later run that sees more of the same episode replaces it.
CREATE TABLE findings (
    id             String,
    kind           LowCardinality(String),
    severity       LowCardinality(String),
    title          String CODEC(ZSTD(1)),
    source         LowCardinality(String),
    destination    LowCardinality(String),
    operation      LowCardinality(String),
    principal      LowCardinality(String),
    first_seen     DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    last_seen      DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    score          Float64,
    threshold      Float64,
    techniques     Array(LowCardinality(String)),
    sql            String CODEC(ZSTD(3)),
    parameters     String CODEC(ZSTD(3)),
    request_ids    Array(String),
    trace_ids      Array(String),
    false_alarm_if String CODEC(ZSTD(1)),
    details        Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    found_at       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(found_at)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 100000
