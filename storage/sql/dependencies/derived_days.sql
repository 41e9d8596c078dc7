-- Derived edges of whole days, summed from their current hours without the operation, with the histogram of edges_1d.
-- Inputs: edge_kind, since, until (UTC seconds, whole days), generation, derived_on. Output: derived_edges_1d.
INSERT INTO derived_edges_1d
    (kind, day, edge_id, hours, derived_on, generation, requests, errors, denied, timed, sized, bytes_sent, bytes_received, log_us_sum, log_us_sum2, statuses, grpc_statuses, faults, histogram, bounds_histogram, first_ts, last_ts)
SELECT
    kind,
    toStartOfDay(hour) AS day,
    base_edge_id AS edge_id,
    groupBitOr(bitShiftLeft(toUInt32(1), toHour(hour))) AS hours,
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
    sumMap(mapFromArrays(arrayMap(bucket -> toInt16(if(bucket < 0, -1, intDiv(bucket + 4, 5))), mapKeys(histogram)), mapValues(histogram))) AS histogram,
    sumMap(bounds_histogram) AS bounds_histogram,
    min(first_ts) AS first_ts,
    max(last_ts) AS last_ts
FROM derived_edges_1h
WHERE kind = {edge_kind:String} AND hour >= {since:DateTime64(0, 'UTC')} AND hour < {until:DateTime64(0, 'UTC')}
    AND (kind, hour, generation) IN (
        SELECT kind, period, max(generation) FROM derived_periods
        WHERE kind = {edge_kind:String} AND grain = '1h'
            AND period >= {since:DateTime64(0, 'UTC')} AND period < {until:DateTime64(0, 'UTC')}
        GROUP BY kind, period)
GROUP BY kind, toStartOfDay(hour), base_edge_id
SETTINGS prefer_column_name_to_alias = 1
