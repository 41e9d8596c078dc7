-- The numbers of every edge of the map in a window, per kind of evidence, counted as docs/counting.md says: per edge and
-- hour one reporter's lines count (the one of the highest rank: analyzers/dependencies/map_keys.py), and one that
-- sees requests comes before all that see only the connections under them (ztunnel beside a waypoint or a sidecar).
-- Whole hours come from the hour rollups, ragged ends from the minutes; what retention left only in coarser tables is
-- taken from there (rows that arrived before the finer table's first arrival day).
-- External: edge_nodes(edge_id, evidence, reporter, rank UInt8, direction, protocol, tls, source_version, source_principal,
-- destination_version, destination_principal, source UInt32, destination UInt32, valid_from, valid_to DateTime64): what a
-- base edge id stands for, and between which nodes, when. Edges that are not in it are left out.
-- Inputs: head_since..head_until and tail_since..tail_until (minutes), hours_since..hours_until (whole hours), all UTC
-- seconds; row_limit (rows).
-- Output: one row per edge (source and destination are node numbers) and evidence; histogram has the buckets of edges_1m,
-- bounds_histogram those of metrics (upper bound in us -> count).
WITH
    -- An empty table keeps nothing: then everything older comes from the coarser one.
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM base_edges_1m) AS minutes_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM base_edges_1h) AS hours_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1m) AS derived_minutes_kept_from,
    (SELECT if(count() = 0, toDate('2149-06-06'), min(derived_on)) FROM derived_edges_1h) AS derived_hours_kept_from,
    edge_rows AS (
        SELECT minute AS t, edge_id, requests, errors, denied, timed, sized, bytes_sent, bytes_received,
            statuses, grpc_statuses, faults, histogram, CAST(map(), 'Map(UInt64, UInt64)') AS bounds_histogram,
            first_ts, last_ts
        FROM base_edges_1m
        WHERE (minute >= {head_since:DateTime64(0, 'UTC')} AND minute < {head_until:DateTime64(0, 'UTC')})
            OR (minute >= {tail_since:DateTime64(0, 'UTC')} AND minute < {tail_until:DateTime64(0, 'UTC')})
        UNION ALL
        SELECT hour AS t, edge_id, requests, errors, denied, timed, sized, bytes_sent, bytes_received,
            statuses, grpc_statuses, faults, histogram, CAST(map(), 'Map(UInt64, UInt64)') AS bounds_histogram,
            first_ts, last_ts
        FROM base_edges_1h
        WHERE (hour >= {hours_since:DateTime64(0, 'UTC')} AND hour < {hours_until:DateTime64(0, 'UTC')})
            OR (received_on < minutes_kept_from
                AND ((hour >= toStartOfHour({head_since:DateTime64(0, 'UTC')}) AND hour < {head_until:DateTime64(0, 'UTC')})
                    OR (hour >= toStartOfHour({tail_since:DateTime64(0, 'UTC')}) AND hour < {tail_until:DateTime64(0, 'UTC')})))
        UNION ALL
        SELECT day AS t, edge_id, requests, errors, denied, timed, sized, bytes_sent, bytes_received,
            statuses, grpc_statuses, faults,
            mapApply((bucket, n) -> (CAST(if(bucket <= 0, bucket, 5 * bucket - 2), 'Int16'), n), histogram) AS histogram,
            CAST(map(), 'Map(UInt64, UInt64)') AS bounds_histogram,
            first_ts, last_ts
        FROM edges_1d
        WHERE received_on < hours_kept_from
            AND day >= toStartOfDay({head_since:DateTime64(0, 'UTC')}) AND day < {tail_until:DateTime64(0, 'UTC')}
        UNION ALL
        SELECT minute AS t, base_edge_id AS edge_id, requests, errors, denied, timed, sized, bytes_sent, bytes_received,
            statuses, grpc_statuses, faults, histogram, bounds_histogram, first_ts, last_ts
        FROM derived_edges_1m
        WHERE ((minute >= {head_since:DateTime64(0, 'UTC')} AND minute < {head_until:DateTime64(0, 'UTC')})
            OR (minute >= {tail_since:DateTime64(0, 'UTC')} AND minute < {tail_until:DateTime64(0, 'UTC')}))
            AND (kind, minute, generation) IN (
                SELECT kind, period, max(generation) FROM derived_periods
                WHERE grain = '1m' AND period >= {head_since:DateTime64(0, 'UTC')} AND period < {tail_until:DateTime64(0, 'UTC')}
                GROUP BY kind, period)
        UNION ALL
        SELECT hour AS t, base_edge_id AS edge_id, requests, errors, denied, timed, sized, bytes_sent, bytes_received,
            statuses, grpc_statuses, faults, histogram, bounds_histogram, first_ts, last_ts
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
        SELECT day AS t, edge_id, requests, errors, denied, timed, sized, bytes_sent, bytes_received,
            statuses, grpc_statuses, faults,
            mapApply((bucket, n) -> (CAST(if(bucket <= 0, bucket, 5 * bucket - 2), 'Int16'), n), histogram) AS histogram,
            bounds_histogram, first_ts, last_ts
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
            k.reporter AS reporter,
            k.rank AS rank,
            max(k.protocol != 'tcp') AS sees_requests,
            sum(r.requests) AS requests, sum(r.errors) AS errors, sum(r.denied) AS denied,
            sum(r.timed) AS timed, sum(r.sized) AS sized,
            sum(r.bytes_sent) AS bytes_sent, sum(r.bytes_received) AS bytes_received,
            sumIf(r.requests, k.tls = 'mtls') AS mtls, sumIf(r.requests, k.tls IN ('mtls', 'tls', 'plaintext')) AS tls_known,
            sumMap(r.statuses) AS statuses, sumMap(r.grpc_statuses) AS grpc_statuses, sumMap(r.faults) AS faults,
            sumMap(r.histogram) AS histogram, sumMap(r.bounds_histogram) AS bounds_histogram,
            sumMap(map(k.protocol, r.requests)) AS protocols, sumMap(map(k.direction, r.requests)) AS directions,
            min(r.first_ts) AS first_ts, max(r.last_ts) AS last_ts,
            groupUniqArray(k.source_version) AS source_versions, groupUniqArray(k.destination_version) AS destination_versions,
            groupUniqArray(k.source_principal) AS source_principals,
            groupUniqArray(k.destination_principal) AS destination_principals
        FROM edge_rows AS r
        INNER JOIN edge_nodes AS k ON r.edge_id = k.edge_id
        WHERE r.t >= k.valid_from AND r.t < k.valid_to
        GROUP BY k.source, k.destination, k.evidence, hour, k.reporter, k.rank
    ),
    ranked AS (
        SELECT
            *,
            sees_requests = max(sees_requests) OVER (PARTITION BY source, destination, evidence, hour) AS comparable,
            sees_requests * 10 + rank = max(sees_requests * 10 + rank) OVER (PARTITION BY source, destination, evidence, hour) AS counted
        FROM by_reporter
    )
SELECT
    source,
    destination,
    evidence,
    sumIf(requests, counted) AS requests,
    sumIf(requests, reporter IN ('source', 'gateway') AND comparable) AS source_requests,
    sumIf(requests, reporter = 'destination' AND comparable) AS destination_requests,
    sumIf(errors, reporter IN ('source', 'gateway') AND comparable) AS source_errors,
    sumIf(errors, reporter = 'destination' AND comparable) AS destination_errors,
    countIf(reporter = 'destination' AND comparable) AS destination_rows,
    sumIf(errors, counted) AS errors,
    sumIf(denied, reporter IN ('destination', 'gateway', 'waypoint') OR evidence = 'flow') AS denied,
    countIf(reporter IN ('destination', 'gateway', 'waypoint') OR evidence = 'flow') AS verdict_rows,
    sumIf(timed, counted) AS timed,
    sumIf(sized, counted) AS sized,
    sumIf(bytes_sent, counted) AS bytes_sent,
    sumIf(bytes_received, counted) AS bytes_received,
    sumIf(mtls, reporter IN ('destination', 'gateway', 'waypoint')) AS mtls,
    sumIf(tls_known, reporter IN ('destination', 'gateway', 'waypoint')) AS tls_known,
    sumMapIf(statuses, counted) AS statuses,
    sumMapIf(grpc_statuses, counted) AS grpc_statuses,
    sumMapIf(faults, counted) AS faults,
    sumMapIf(faults, reporter IN ('source', 'gateway') AND counted) AS source_met,
    sumMapIf(faults, reporter IN ('source', 'gateway') AND comparable AND NOT counted) AS source_told,
    sumMapIf(faults, reporter = 'destination' AND counted) AS destination_met,
    sumMapIf(faults, reporter = 'destination' AND comparable AND NOT counted) AS destination_told,
    sumMapIf(faults, reporter = 'waypoint' AND counted) AS waypoint_met,
    sumMapIf(faults, reporter = 'waypoint' AND comparable AND NOT counted) AS waypoint_told,
    sumMapIf(histogram, counted) AS histogram,
    sumMapIf(bounds_histogram, counted) AS bounds_histogram,
    sumMapIf(protocols, counted) AS protocols,
    sumMapIf(directions, counted) AS directions,
    min(first_ts) AS first_ts,
    max(last_ts) AS last_ts,
    countIf(reporter = 'gateway') AS gateway_rows,
    groupUniqArrayArray(source_versions) AS source_versions,
    groupUniqArrayArray(destination_versions) AS destination_versions,
    groupUniqArrayArray(source_principals) AS source_principals,
    groupUniqArrayArray(destination_principals) AS destination_principals
FROM ranked
GROUP BY source, destination, evidence
ORDER BY source, destination, evidence
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
