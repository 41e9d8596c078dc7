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
    called AS (
        SELECT
            k.source AS source, k.destination AS destination, k.evidence AS evidence, toStartOfHour(r.t) AS hour,
            k.reporter AS reporter, k.tls AS tls, o.operation AS operation,
            k.rank AS rank,
            10 * (k.protocol != 'tcp') + rank AS merit,
            r.requests AS requests, r.errors AS errors, r.histogram AS histogram, r.bounds_histogram AS bounds_histogram
        FROM edge_rows AS r
        INNER JOIN edge_nodes AS k ON r.base_edge_id = k.edge_id
        LEFT JOIN (SELECT edge_id, any(operation) AS operation FROM edge_keys GROUP BY edge_id) AS o ON r.edge_id = o.edge_id
        WHERE r.t >= k.valid_from AND r.t < k.valid_to
    ),
    -- First who counts in each hour, from numbers alone: histograms kept apart by hour and reporter would fill the memory.
    best AS (
        SELECT source, destination, evidence, hour, max(merit) % 10 AS rank
        FROM called
        GROUP BY source, destination, evidence, hour
    )
SELECT
    c.source AS source,
    c.destination AS destination,
    c.evidence AS evidence,
    c.operation AS operation,
    sumIf(c.requests, c.rank = b.rank) AS requests,
    sumIf(c.errors, c.rank = b.rank) AS errors,
    sumIf(c.requests, c.tls = 'mtls' AND c.reporter IN ('destination', 'gateway', 'waypoint')) AS mtls,
    sumIf(c.requests, c.tls IN ('mtls', 'tls', 'plaintext') AND c.reporter IN ('destination', 'gateway', 'waypoint')) AS tls_known,
    sumMapIf(c.histogram, c.rank = b.rank) AS histogram,
    sumMapIf(c.bounds_histogram, c.rank = b.rank) AS bounds_histogram
FROM called AS c
INNER JOIN best AS b ON c.source = b.source AND c.destination = b.destination AND c.evidence = b.evidence AND c.hour = b.hour
GROUP BY c.source, c.destination, c.evidence, c.operation
ORDER BY source, destination, evidence, operation
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
