-- What could not be decoded: one row a record, with its bytes, position and reason.
CREATE TABLE dead_letters (
    received_at   DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    source        LowCardinality(String),
    partition     Int32,
    offset        Int64 CODEC(Delta, ZSTD(1)),
    record        UInt32,
    format        LowCardinality(String),
    reason        String CODEC(ZSTD(1)),
    payload       String CODEC(ZSTD(1)),
    payload_bytes UInt64 CODEC(T64, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(received_at)
ORDER BY (source, partition, offset, record)
SETTINGS non_replicated_deduplication_window = 100000
