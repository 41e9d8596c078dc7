-- First and last time each edge key (edge, principals, versions, operation) was seen in log lines and flows. Derived edges are
-- not here: a later generation may withdraw them, and a minimum cannot be taken back (dependencies/ledger.sql reads them as they stand).
CREATE TABLE edge_ledger (
    edge_id      UInt64,
    base_edge_id SimpleAggregateFunction(any, UInt64),
    first_ts     SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_ts      SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    received_on  SimpleAggregateFunction(max, Date),
    requests     SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY edge_id
SETTINGS non_replicated_deduplication_window = 100000
