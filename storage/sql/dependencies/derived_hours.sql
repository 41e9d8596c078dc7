-- Derived edges of whole hours, summed from their current minutes.
-- Inputs: edge_kind, since, until (UTC seconds, whole hours), generation, derived_on. Output: derived_edges_1h.
INSERT INTO derived_edges_1h
    (kind, hour, edge_id, base_edge_id, derived_on, generation, requests, errors, denied, timed, sized, bytes_sent, bytes_received, log_us_sum, log_us_sum2, statuses, grpc_statuses, faults, histogram, bounds_histogram, first_ts, last_ts)
SELECT
    kind,
    toStartOfHour(minute) AS hour,
    edge_id,
    any(base_edge_id) AS base_edge_id,
    toDate({derived_on:Date}) AS derived_on,
    {generation:UInt64} AS generation,
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
    sumMap(bounds_histogram) AS bounds_histogram,
    min(first_ts) AS first_ts,
    max(last_ts) AS last_ts
FROM derived_edges_1m
WHERE kind = {edge_kind:String} AND minute >= {since:DateTime64(0, 'UTC')} AND minute < {until:DateTime64(0, 'UTC')}
    AND (kind, minute, generation) IN (
        SELECT kind, period, max(generation) FROM derived_periods
        WHERE kind = {edge_kind:String} AND grain = '1m'
            AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
        GROUP BY kind, period)
GROUP BY kind, toStartOfHour(minute), edge_id
SETTINGS prefer_column_name_to_alias = 1
