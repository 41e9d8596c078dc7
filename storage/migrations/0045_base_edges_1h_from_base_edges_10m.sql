-- What an inserted block of ten minutes adds to their hours.
CREATE MATERIALIZED VIEW base_edges_1h_from_base_edges_10m TO base_edges_1h AS
SELECT
    received_on,
    toStartOfHour(start) AS hour,
    edge_id,
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
FROM base_edges_10m
GROUP BY received_on, hour, edge_id
