-- What an inserted block of six hours adds to its days, with the coarser histogram.
CREATE MATERIALIZED VIEW edges_1d_from_base_edges_6h TO edges_1d AS
SELECT
    received_on,
    toStartOfDay(start) AS day,
    edge_id,
    groupBitOr(hours) AS hours,
    sum(requests) AS requests,
    sum(errors) AS errors,
    sum(denied) AS denied,
    sum(timed) AS timed,
    sum(sized) AS sized,
    sum(bytes_sent) AS bytes_sent,
    sum(bytes_received) AS bytes_received,
    sum(log_us_sum) AS log_us_sum,
    sum(log_us_sum2) AS log_us_sum2,
    sumMap(statuses) AS statuses,
    sumMap(grpc_statuses) AS grpc_statuses,
    sumMap(faults) AS faults,
    sumMap(mapFromArrays(arrayMap(bucket -> toInt16(if(bucket < 0, -1, intDiv(bucket + 4, 5))), mapKeys(histogram)), mapValues(histogram))) AS histogram,
    min(first_ts) AS first_ts,
    max(last_ts) AS last_ts
FROM base_edges_6h
GROUP BY received_on, day, edge_id
