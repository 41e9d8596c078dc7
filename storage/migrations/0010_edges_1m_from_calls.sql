-- Log edges: what a batch of calls adds to its minutes. edge_id 0 is not counted here (start lines; calls known by address only).
-- Bits of `logged`: 29 status, 30 grpc_status, 34 duration_us, 37 bytes_sent (storage.tables.LOGGED_BIT; a test compares).
CREATE MATERIALIZED VIEW edges_1m_from_calls TO edges_1m AS
SELECT
    toDate(received_at) AS received_on,
    toStartOfMinute(ts) AS minute,
    edge_id,
    any(base_edge_id) AS base_edge_id,
    count() AS requests,
    countIf(status >= 500 OR grpc_status IN (2, 4, 13, 14, 15)
        OR (status = 0 AND response_flags NOT IN ('', '-', 'DC'))) AS errors,
    countIf(verdict = 'denied') AS denied,
    countIf(bitTest(logged, 34)) AS timed,
    countIf(bitTest(logged, 37)) AS sized,
    sum(bytes_sent) AS bytes_sent,
    sum(bytes_received) AS bytes_received,
    sumIf(log(greatest(duration_us, 1)) AS log_us, bitTest(logged, 34)) AS log_us_sum,
    sumIf(log_us * log_us, bitTest(logged, 34)) AS log_us_sum2,
    sumMapIf(map(status, toUInt64(1)), bitTest(logged, 29)) AS statuses,
    sumMapIf(map(grpc_status, toUInt64(1)), bitTest(logged, 30)) AS grpc_statuses,
    sumMapIf(map(toString(fault), toUInt64(1)), fault NOT IN ('', 'none')) AS faults,
    sumMapIf(map(CAST(if(duration_us = 0, -1, ceil(log(duration_us) / 0.020000666706669542)), 'Int16'), toUInt64(1)), bitTest(logged, 34)) AS histogram,
    min(ts) AS first_ts,
    max(ts) AS last_ts
FROM calls
WHERE edge_id != 0
GROUP BY received_on, minute, edge_id
