-- What an inserted block of minutes adds to the minutes of its base edges.
CREATE MATERIALIZED VIEW base_edges_1m_from_edges_1m TO base_edges_1m AS
SELECT
    received_on,
    minute,
    base_edge_id AS edge_id,
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
FROM edges_1m
GROUP BY received_on, minute, base_edge_id
