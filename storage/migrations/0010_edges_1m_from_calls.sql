-- Log and flow edges: what a batch of calls adds to its minutes. edge_id 0 is not counted here (start lines; calls known by address only).
-- A row counts `weight` times; its bytes are those of all it stands for.
-- Bits of `logged`: 29 status, 30 grpc_status, 34 duration_us, 37 bytes_sent (storage.tables.LOGGED_BIT; a test compares).
-- Values are gathered and counted per group, which is much cheaper than sumMap(map(value, 1)) for each row. What rows of more
-- than one call add to that (more_...: value, calls beyond the first) is gathered apart: few sources have any.
CREATE MATERIALIZED VIEW edges_1m_from_calls TO edges_1m AS
WITH
    groupArrayIf(status, weight > 0 AND bitTest(logged, 29) AND protocol != 'tcp') AS all_statuses,
    groupArrayIf((status, weight - 1), weight > 1 AND bitTest(logged, 29) AND protocol != 'tcp') AS more_statuses,
    arrayDistinct(all_statuses) AS distinct_statuses,
    groupArrayIf(grpc_status, weight > 0 AND bitTest(logged, 30) AND (grpc_status > 0 OR protocol = 'grpc')) AS all_grpc,
    groupArrayIf((grpc_status, weight - 1), weight > 1 AND bitTest(logged, 30) AND (grpc_status > 0 OR protocol = 'grpc')) AS more_grpc,
    arrayDistinct(all_grpc) AS distinct_grpc,
    groupArrayIf(toString(fault), weight > 0 AND fault NOT IN ('', 'none')) AS all_faults,
    groupArrayIf((toString(fault), weight - 1), weight > 1 AND fault NOT IN ('', 'none')) AS more_faults,
    arrayDistinct(all_faults) AS distinct_faults,
    CAST(if(duration_us = 0, -1, ceil(log(duration_us) / 0.020000666706669542)), 'Int16') AS bucket,
    groupArrayIf(bucket, weight > 0 AND bitTest(logged, 34)) AS all_buckets,
    groupArrayIf((bucket, weight - 1), weight > 1 AND bitTest(logged, 34)) AS more_buckets,
    arrayDistinct(all_buckets) AS distinct_buckets
SELECT
    toDate(received_at) AS received_on,
    toStartOfMinute(ts) AS minute,
    edge_id,
    any(base_edge_id) AS base_edge_id,
    sum(weight) AS requests,
    sumIf(weight, status >= 500 OR grpc_status IN (2, 4, 13, 14, 15)
        OR (status = 0 AND (response_flags NOT IN ('', '-', 'DC') OR fault = 'network'))) AS errors,
    sumIf(weight, verdict = 'denied') AS denied,
    sumIf(weight, bitTest(logged, 34)) AS timed,
    countIf(bitTest(logged, 37)) AS sized,
    sum(bytes_sent) AS bytes_sent,
    sum(bytes_received) AS bytes_received,
    sumIf(weight * (log(greatest(duration_us, 1)) AS log_us), bitTest(logged, 34)) AS log_us_sum,
    sumIf(weight * log_us * log_us, bitTest(logged, 34)) AS log_us_sum2,
    mapFromArrays(distinct_statuses, arrayMap(x -> countEqual(all_statuses, x) + arraySum(arrayMap(m -> if(m.1 = x, m.2, 0), more_statuses)), distinct_statuses)) AS statuses,
    mapFromArrays(distinct_grpc, arrayMap(x -> countEqual(all_grpc, x) + arraySum(arrayMap(m -> if(m.1 = x, m.2, 0), more_grpc)), distinct_grpc)) AS grpc_statuses,
    mapFromArrays(distinct_faults, arrayMap(x -> countEqual(all_faults, x) + arraySum(arrayMap(m -> if(m.1 = x, m.2, 0), more_faults)), distinct_faults)) AS faults,
    mapFromArrays(distinct_buckets, arrayMap(x -> countEqual(all_buckets, x) + arraySum(arrayMap(m -> if(m.1 = x, m.2, 0), more_buckets)), distinct_buckets)) AS histogram,
    min(ts) AS first_ts,
    max(ts) AS last_ts
FROM calls
WHERE edge_id != 0
GROUP BY received_on, minute, edge_id
