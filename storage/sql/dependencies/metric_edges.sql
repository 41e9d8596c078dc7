-- Metric edges of the minutes [since, until): one row per minute and edge key, from metric samples.
--
-- A cumulative point counts what it has more than the point of its series before it (at most horizon_s earlier); a value
-- that fell, or a start after that point, is a reset: all of it is new. A start at the point's own time tells nothing
-- (a scraper that was restarted says that). A series without such a point began now when its start lies within
-- the horizon, or when other series of its target go on at the same moment; else what it counts is older and counts 0.
-- A delta point counts its value. Several points of a series at one time are one (of the latest start, then the largest).
--
-- Histograms keep their own bounds: bounds_histogram has upper bounds in us (whole, four digits; the largest UInt64 = no
-- bound), empty buckets included. Where the bounds changed between two points, the earlier counts go into the bucket of
-- the new ones that holds their bound.
--
-- A request that was refused is counted by no metric of requests, a connection that was refused may be: the refused ones are
-- requests too.
--
-- Inputs: since, until (UTC seconds, whole minutes), horizon_s (seconds), generation, derived_on (as trace_edges).
-- Output: rows of derived_edges_1m.
INSERT INTO derived_edges_1m (
    kind, minute, edge_id, base_edge_id, derived_on, generation, evidence, reporter, direction, protocol, tls,
    source_cluster, source_namespace, source_workload, source_service, source_version, source_principal,
    destination_cluster, destination_namespace, destination_workload, destination_service, destination_version,
    destination_principal, operation, requests, errors, denied, timed, sized, bytes_sent, bytes_received, log_us_sum,
    log_us_sum2, statuses, grpc_statuses, faults, histogram, bounds_histogram, first_ts, last_ts
)
WITH
    (us) -> if(us < 1e18, exp10(greatest(floor(log10(greatest(us, 1))) - 3, 0)), 1) AS last_digit,
    (us, digit) -> if(us < 1e18, toUInt64(round(us / digit) * digit), 18446744073709551615) AS whole,
    (us) -> whole(us, last_digit(us)) AS whole_us,
    -- Upper bounds (us) and counts of a histogram, explicit or exponential; ([], []) where it is none that can be read.
    (bounds, counts, scale, zeros, first, powers, unit_us) -> multiIf(
        notEmpty(counts), if(
            length(counts) = length(bounds) + 1 AND length(counts) <= 1024 AND arrayMax(counts) < 1e15 AND arrayAll(x -> isFinite(x), bounds) AND arraySort(bounds) = bounds,
            (arrayMap(x -> whole_us(greatest(x, 0) * unit_us), arrayPushBack(bounds, inf)), counts),
            ([], [])),
        notEmpty(powers), if(
            length(powers) <= 1024 AND arrayMax(powers) < 1e15 AND zeros < 1e15 AND scale BETWEEN -10 AND 20 AND abs(first) <= 1e9,
            (
                arrayConcat([toUInt64(0)], arrayMap(i -> whole_us(exp2((first + i) * exp2(-scale)) * unit_us), range(length(powers) + 1))),
                arrayConcat([zeros, toUInt64(0)], powers)
            ),
            ([], [])),
        ([], [])) AS buckets,
    near AS (
        SELECT
            minute, ts, start_ts, series, target, cumulative, amount,
            timed, unit_us, bounds, bucket_counts, scale, zero_count, positive_offset, positive_counts,
            system, measure, count_rank, outcome_rank, failed, status, grpc_status,
            reporter, direction, protocol, tls,
            (source_cluster, source_namespace, source_workload, source_service, source_version, source_principal) AS source,
            (destination_cluster, destination_namespace, destination_workload, destination_service,
                destination_version, destination_principal) AS destination
        FROM metric_samples
        WHERE minute >= {since:DateTime64(0, 'UTC')} - toIntervalSecond({horizon_s:UInt32}) - toIntervalMinute(1)
            AND minute < {until:DateTime64(0, 'UTC')}
        ORDER BY series, ts, start_ts DESC, amount DESC, cumulative DESC, bounds DESC, bucket_counts DESC
        LIMIT 1 BY series, ts
    ),
    paired AS (
        SELECT
            *,
            lagInFrame((ts, start_ts, amount, (bounds, bucket_counts, scale, zero_count, positive_offset, positive_counts)))
                OVER (PARTITION BY series ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS earlier,
            cumulative AND earlier.1 >= ts - toIntervalSecond({horizon_s:UInt32}) AS goes_on
        FROM near
    ),
    grown AS (
        SELECT
            *,
            start_ts > toDateTime64(86400, 0, 'UTC') AND start_ts < ts AS started,
            max(goes_on) OVER (PARTITION BY target, ts) AS others_go_on,
            multiIf(
                NOT cumulative, 'all',
                goes_on, if(amount < earlier.3 OR (started AND start_ts != earlier.2 AND start_ts >= earlier.1), 'all', 'more'),
                (started AND start_ts >= ts - toIntervalSecond({horizon_s:UInt32})) OR others_go_on, 'all',
                'none') AS counts,
            multiIf(counts = 'all', amount, counts = 'more', amount - earlier.3, 0) AS increase
        FROM paired
        WHERE minute >= {since:DateTime64(0, 'UTC')}
    ),
    -- Step by step: a name used twice in one SELECT is written out twice, and these are long.
    bounded AS (
        SELECT
            *,
            if(timed AND counts != 'none',
                buckets(bounds, bucket_counts, scale, zero_count, positive_offset, positive_counts, unit_us), ([], [])) AS now,
            if(timed AND counts = 'more',
                buckets(earlier.4.1, earlier.4.2, earlier.4.3, earlier.4.4, earlier.4.5, earlier.4.6, unit_us), ([], [])) AS before
        FROM grown
    ),
    regrouped AS (
        SELECT
            * EXCEPT (now, before),
            now.1 AS uppers,
            now.2 AS totals,
            multiIf(
                empty(before.1) OR empty(uppers), arrayMap(n -> toUInt64(0), totals),
                before.1 = uppers, before.2,
                arrayMap(
                    i -> arraySum(arrayFilter((b, upper) -> arrayFirstIndex(bound -> bound >= upper, now.1) = i, before.2, before.1)),
                    arrayEnumerate(now.1))) AS totals_before
        FROM bounded
    ),
    ranked AS (
        SELECT
            *,
            count_rank > 0 AND count_rank = max(count_rank) OVER (PARTITION BY minute, target, system) AS counting,
            outcome_rank > 0 AND outcome_rank = max(outcome_rank) OVER (PARTITION BY minute, target, system) AS telling,
            system = 'linkerd_tcp' AND max(system = 'linkerd') OVER (PARTITION BY minute, target, reporter, source, destination) AS carries_requests
        FROM regrouped
    ),
    keyed AS (
        SELECT
            'metric' AS evidence, reporter, direction, protocol, tls,
            source.1 AS source_cluster, source.2 AS source_namespace, source.3 AS source_workload,
            source.4 AS source_service, source.5 AS source_version, source.6 AS source_principal,
            destination.1 AS destination_cluster, destination.2 AS destination_namespace,
            destination.3 AS destination_workload, destination.4 AS destination_service,
            destination.5 AS destination_version, destination.6 AS destination_principal,
            '' AS operation,
            minute, ts, measure, counting, telling, failed, status, grpc_status, toUInt64(increase) AS n, uppers,
            arrayMap((now, before) -> toUInt64(now - least(now, before)), totals, totals_before) AS bucket_increase
        FROM ranked
        WHERE increase > 0 AND NOT carries_requests
    )
SELECT
    'metric' AS kind,
    minute,
    cityHash64(concatWithSeparator('\x1f', evidence, reporter, direction, protocol, tls, source_cluster, source_namespace, source_workload, source_service, source_version, source_principal, destination_cluster, destination_namespace, destination_workload, destination_service, destination_version, destination_principal, operation)) AS edge_id,
    cityHash64(concatWithSeparator('\x1f', evidence, reporter, direction, protocol, tls, source_cluster, source_namespace, source_workload, source_service, source_version, source_principal, destination_cluster, destination_namespace, destination_workload, destination_service, destination_version, destination_principal, '')) AS base_edge_id,
    toDate({derived_on:Date}) AS derived_on,
    {generation:UInt64} AS generation,
    evidence,
    reporter,
    direction,
    protocol,
    tls,
    source_cluster,
    source_namespace,
    source_workload,
    source_service,
    source_version,
    source_principal,
    destination_cluster,
    destination_namespace,
    destination_workload,
    destination_service,
    destination_version,
    destination_principal,
    operation,
    if(protocol = 'tcp', greatest(sumIf(n, counting), denied), sumIf(n, counting) + denied) AS requests,
    sumIf(n, telling AND failed) AS errors,
    sumIf(n, measure = 'denied') AS denied,
    0 AS timed,
    if(countIf(measure IN ('sent', 'received')) = 0, 0, greatest(requests, 1)) AS sized,
    sumIf(n, measure = 'sent') AS bytes_sent,
    sumIf(n, measure = 'received') AS bytes_received,
    0 AS log_us_sum,
    0 AS log_us_sum2,
    sumMapIf(map(toUInt16(status), n), telling AND status >= 0) AS statuses,
    sumMapIf(map(toUInt8(grpc_status), n), telling AND grpc_status BETWEEN 0 AND 255) AS grpc_statuses,
    CAST(map(), 'Map(String, UInt64)') AS faults,
    CAST(map(), 'Map(Int16, UInt64)') AS histogram,
    sumMap(mapFromArrays(uppers, bucket_increase)) AS bounds_histogram,
    min(ts) AS first_ts,
    max(ts) AS last_ts
FROM keyed
GROUP BY
    minute,
    evidence,
    reporter,
    direction,
    protocol,
    tls,
    source_cluster,
    source_namespace,
    source_workload,
    source_service,
    source_version,
    source_principal,
    destination_cluster,
    destination_namespace,
    destination_workload,
    destination_service,
    destination_version,
    destination_principal,
    operation
HAVING requests + errors + bytes_sent + bytes_received > 0
