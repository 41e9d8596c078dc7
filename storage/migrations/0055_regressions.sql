-- Edges that became slower or fail more often, and anomalies that went away: one row an episode, replaced when more of it is known.
-- before_.., after_..: of the hour before and of the time since; us, and counts. 1970 = not ended.
CREATE TABLE regressions (
    id              String,
    verdict         LowCardinality(String),
    what            LowCardinality(String),
    shape           LowCardinality(String),
    source          LowCardinality(String),
    destination     LowCardinality(String),
    operation       LowCardinality(String),
    reporters       Array(LowCardinality(String)),
    evidence        LowCardinality(String),
    since           DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    last_seen       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    ended           DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    told_at         DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    before_us       Array(Float64),
    after_us        Array(Float64),
    before_requests UInt64,
    after_requests  UInt64,
    before_errors   UInt64,
    after_errors    UInt64,
    ratio           Float64,
    ratio_low       Float64,
    ratio_high      Float64,
    p_value         Float64,
    superiority     Float64,
    distance        Float64,
    score           Float64,
    tested          UInt64,
    causes          String CODEC(ZSTD(3)),
    stages          String CODEC(ZSTD(3)),
    explains        Array(String),
    explained_by    String,
    slow_ids        Array(String),
    typical_ids     Array(String),
    found_at        DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(found_at)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 100000
