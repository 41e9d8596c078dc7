-- Which dead letters were read again, and whether that ended: one row (step `letter`) a letter of an attempt, written by
-- one insert before its rows are, and one row (step `done`) after them. Attempts are numbered by batch of letters
-- (source, partition, received_at). Kept for longer than the letters are: one that was replayed is not
-- replayed again.
CREATE TABLE dead_letter_replays (
    received_at  DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    source       LowCardinality(String),
    partition    Int32,
    attempt      UInt32,
    step         LowCardinality(String),
    offset       Int64 CODEC(Delta, ZSTD(1)),
    record       UInt32,
    payload_hash UInt64,
    replayed_at  DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    decoder      LowCardinality(String),
    state        LowCardinality(String),
    writer       LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (source, partition, received_at, attempt)
SETTINGS non_replicated_deduplication_window = 100000
