-- The numbers of every edge of a window by operation, per kind of evidence: what two windows are compared by. The same lines
-- count as in edge_numbers.sql: per edge (not per operation) and hour those of one reporter.
-- Whole hours come from the hour rollups, ragged ends from the minutes. What retention has left only in days has no operation.
-- External: edge_nodes, as in edge_numbers.sql.
-- Inputs: head_since..head_until and tail_since..tail_until (minutes), hours_since..hours_until (whole hours), all UTC
-- seconds; row_limit (rows).
-- Output: one row per edge (source and destination are node numbers), evidence and operation (empty = none known): requests,
-- errors, histograms as in edge_numbers.sql; mtls and tls_known (calls that tell) of whoever can tell.
WITH
    -- An empty table keeps nothing: then everything older comes from the coarser one.
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM edges_1m) AS minutes_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM edges_1h) AS hours_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1m) AS derived_minutes_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1h) AS derived_hours_kept_from,
    edge_rows AS (
        SELECT minute AS t, edge_id, base_edge_id, requests, errors, histogram,
            CAST(map(), 'Map(UInt64, UInt64)') AS bounds_histogram
        FROM edges_1m
        WHERE (minute >= {head_since:DateTime64(0, 'UTC')} AND minute < {head_until:DateTime64(0, 'UTC')})
            OR (minute >= {tail_since:DateTime64(0, 'UTC')} AND minute < {tail_until:DateTime64(0, 'UTC')})
        UNION ALL
        SELECT hour AS t, edge_id, base_edge_id, requests, errors, histogram,
            CAST(map(), 'Map(UInt64, UInt64)') AS bounds_histogram
        FROM edges_1h
        WHERE (hour >= {hours_since:DateTime64(0, 'UTC')} AND hour < {hours_until:DateTime64(0, 'UTC')})
            OR (received_on < minutes_kept_from
                AND ((hour >= toStartOfHour({head_since:DateTime64(0, 'UTC')}) AND hour < {head_until:DateTime64(0, 'UTC')})
                    OR (hour >= toStartOfHour({tail_since:DateTime64(0, 'UTC')}) AND hour < {tail_until:DateTime64(0, 'UTC')})))
        UNION ALL
        SELECT day AS t, edge_id, edge_id AS base_edge_id, requests, errors,
            mapApply((bucket, n) -> (CAST(if(bucket <= 0, bucket, 5 * bucket - 2), 'Int16'), n), histogram) AS histogram,
            CAST(map(), 'Map(UInt64, UInt64)') AS bounds_histogram
        FROM edges_1d
        WHERE received_on < hours_kept_from
            AND day >= toStartOfDay({head_since:DateTime64(0, 'UTC')}) AND day < {tail_until:DateTime64(0, 'UTC')}
        UNION ALL
        SELECT minute AS t, edge_id, base_edge_id, requests, errors, histogram, bounds_histogram
        FROM derived_edges_1m
        WHERE ((minute >= {head_since:DateTime64(0, 'UTC')} AND minute < {head_until:DateTime64(0, 'UTC')})
            OR (minute >= {tail_since:DateTime64(0, 'UTC')} AND minute < {tail_until:DateTime64(0, 'UTC')}))
            AND (kind, minute, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1m' AND period >= {head_since:DateTime64(0, 'UTC')} AND period < {tail_until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
        UNION ALL
        SELECT hour AS t, edge_id, base_edge_id, requests, errors, histogram, bounds_histogram
        FROM derived_edges_1h
        WHERE ((hour >= {hours_since:DateTime64(0, 'UTC')} AND hour < {hours_until:DateTime64(0, 'UTC')})
            OR (derived_on < derived_minutes_kept_from
                AND ((hour >= toStartOfHour({head_since:DateTime64(0, 'UTC')}) AND hour < {head_until:DateTime64(0, 'UTC')})
                    OR (hour >= toStartOfHour({tail_since:DateTime64(0, 'UTC')}) AND hour < {tail_until:DateTime64(0, 'UTC')}))))
            AND (kind, hour, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1h' AND period >= toStartOfHour({head_since:DateTime64(0, 'UTC')})
                    AND period < {tail_until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
        UNION ALL
        SELECT day AS t, edge_id, edge_id AS base_edge_id, requests, errors,
            mapApply((bucket, n) -> (CAST(if(bucket <= 0, bucket, 5 * bucket - 2), 'Int16'), n), histogram) AS histogram,
            bounds_histogram
        FROM derived_edges_1d
        WHERE derived_on < derived_hours_kept_from
            AND day >= toStartOfDay({head_since:DateTime64(0, 'UTC')}) AND day < {tail_until:DateTime64(0, 'UTC')}
            AND (kind, day, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1d' AND period >= toStartOfDay({head_since:DateTime64(0, 'UTC')})
                    AND period < {tail_until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
    ),
    by_reporter AS (
        SELECT
            k.source AS source, k.destination AS destination, k.evidence AS evidence, toStartOfHour(r.t) AS hour,
            k.reporter AS reporter, o.operation AS operation,
            transform(k.reporter, ['source', 'gateway', 'destination', 'waypoint'], [4, 4, 3, 2], 1) AS rank,
            max(k.protocol != 'tcp') AS sees_requests,
            sum(r.requests) AS requests, sum(r.errors) AS errors,
            sumIf(r.requests, k.tls = 'mtls') AS mtls, sumIf(r.requests, k.tls IN ('mtls', 'tls', 'plaintext')) AS tls_known,
            sumMap(r.histogram) AS histogram, sumMap(r.bounds_histogram) AS bounds_histogram
        FROM edge_rows AS r
        INNER JOIN edge_nodes AS k ON r.base_edge_id = k.edge_id
        LEFT JOIN (SELECT edge_id, any(operation) AS operation FROM edge_keys GROUP BY edge_id) AS o ON r.edge_id = o.edge_id
        WHERE r.t >= k.valid_from AND r.t < k.valid_to
        GROUP BY k.source, k.destination, k.evidence, hour, k.reporter, o.operation
    ),
    merited AS (
        SELECT
            *,
            10 * max(sees_requests) OVER (PARTITION BY source, destination, evidence, hour, reporter) + rank AS merit
        FROM by_reporter
    ),
    ranked AS (
        SELECT *, merit = max(merit) OVER (PARTITION BY source, destination, evidence, hour) AS counted
        FROM merited
    )
SELECT
    source,
    destination,
    evidence,
    operation,
    sumIf(requests, counted) AS requests,
    sumIf(errors, counted) AS errors,
    sumIf(mtls, reporter IN ('destination', 'gateway', 'waypoint')) AS mtls,
    sumIf(tls_known, reporter IN ('destination', 'gateway', 'waypoint')) AS tls_known,
    sumMapIf(histogram, counted) AS histogram,
    sumMapIf(bounds_histogram, counted) AS bounds_histogram
FROM ranked
GROUP BY source, destination, evidence, operation
ORDER BY source, destination, evidence, operation
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
