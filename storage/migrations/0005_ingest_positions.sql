-- Bounds of each batch, written before its rows: the first writer's bounds win, so that a replay cuts the same batch. Not partitioned:
-- deduplication works within a partition, and two writers may meet at midnight.
CREATE TABLE ingest_positions (
    cluster_id     LowCardinality(String),
    topic          LowCardinality(String),
    topic_id       LowCardinality(String),
    partition      Int32,
    first          Int64,
    last           Int64,
    received_at    DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    decoder        LowCardinality(String),
    consumer_group LowCardinality(String),
    writer         String CODEC(ZSTD(1)),
    state          String CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (topic_id, partition, first)
SETTINGS non_replicated_deduplication_window = 100000
