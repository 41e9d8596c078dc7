-- Who was seen to have an address, hour by hour, as lines and spans said it: what address aliases of evidence `telemetry` are learnt from.
-- told_by: pod (its own proxy, or the log shipper beside it), caller (a line names the service that it reached there),
-- peer (a certificate came from there) or span (resource).
CREATE TABLE address_sightings (
    hour            DateTime64(0, 'UTC'),
    cluster         LowCardinality(String),
    address         IPv6,
    told_by         LowCardinality(String),
    namespace       LowCardinality(String),
    workload        LowCardinality(String),
    service         LowCardinality(String),
    service_account LowCardinality(String),
    pod             LowCardinality(String),
    version         LowCardinality(String),
    is_gateway      UInt8,
    first_ts        SimpleAggregateFunction(min, DateTime64(6, 'UTC')),
    last_ts         SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    received_on     SimpleAggregateFunction(max, Date)
)
ENGINE = AggregatingMergeTree
ORDER BY (address, cluster, hour, told_by, namespace, workload, service, service_account, pod, version, is_gateway)
SETTINGS non_replicated_deduplication_window = 100000
