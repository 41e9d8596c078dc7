-- The generation of each minute, hour and day of derived edges that counts: the highest one. Written after the edges themselves,
-- so readers switch at once. `records` and `knowledge` say what it was derived from; where they differ from now, it is derived again.
CREATE TABLE derived_periods (
    kind       LowCardinality(String),
    grain      LowCardinality(String),
    period     DateTime64(0, 'UTC'),
    generation UInt64,
    records    UInt64,
    knowledge  UInt64,
    derived_on Date
)
ENGINE = ReplacingMergeTree(generation)
ORDER BY (kind, grain, period)
SETTINGS non_replicated_deduplication_window = 100000
