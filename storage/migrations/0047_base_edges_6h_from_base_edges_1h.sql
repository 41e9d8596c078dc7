-- What an inserted block of hours adds to their six hours.
CREATE MATERIALIZED VIEW base_edges_6h_from_base_edges_1h TO base_edges_6h AS
SELECT
    received_on,
    toStartOfInterval(hour, toIntervalHour(6)) AS start,
    edge_id,
    groupBitOr(bitShiftLeft(toUInt32(1), toHour(hour))) AS hours,
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
    sumMap(histogram) AS histogram,
    min(first_ts) AS first_ts,
    max(last_ts) AS last_ts
FROM base_edges_1h
GROUP BY received_on, start, edge_id
