-- Callers that were refused again and again: their episodes, and how densest minutes look. An episode ends after quiet_s seconds
-- without a refusal. Within it, each minute with a refusal closes a window of window_s: the most refused calls and the most distinct
-- targets of any such window make the score. A target is an operation of a callee, or a port of it where no operation is known.
-- A caller is a node with its principal; one that has no name, and whoever comes in through a gateway, is its address.
-- Which lines are refusals, and which of them count, is as in denials.sql; policies on trial refuse nobody.
-- External: ends, as in denials.sql.
-- In: since, until (UTC), quiet_s, window_s (seconds), most_calls, most_targets (of a window, at which the score is 1), unknown (the
-- number of the node that nobody can name), samples (ids of each kind), row_limit (rows).
-- Out: source (node number), principal, address, first_ts, last_ts, calls, targets (at most 10 000), destinations (node numbers, at most
-- 100), peak_calls, peak_targets, score, source_ends (hashes, at most 100: for denied_calls.sql), request_ids, trace_ids (the earliest);
-- highest score first.
WITH
    addressed AS (SELECT toIPv6OrZero(name) AS ip FROM aliases FINAL WHERE kind IN ('pod_ip', 'service_ip')),
    refusing AS (
        SELECT base_edge_id, edge_id
        FROM edges_1h
        WHERE denied > 0 AND hour >= toStartOfHour({since:DateTime64(6, 'UTC')}) AND hour < {until:DateTime64(6, 'UTC')}
    ),
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM edges_1h) AS hours_kept_from,
    told AS (
        SELECT
            ts,
            weight,
            request_id,
            trace_id,
            toString(source_principal) AS principal,
            reporter = 'gateway' AS at_gateway,
            replaceOne(IPv6NumToString(if(source_remote_ip = toIPv6('::') OR NOT at_gateway, source_ip, source_remote_ip)), '::ffff:', '') AS client,
            if(operation = '', toString(destination_port), toString(operation)) AS target,
            mesh IN ('calico', 'cilium') AS is_flow,
            if(NOT is_flow AND (reporter = 'source' OR (mesh = 'linkerd' AND log_type != 'audit' AND denied_by = '')), 1, 2) AS rank,
            source_workload = '' AND source_service = '' AND source_principal = '' AS nameless_source,
            destination_workload = '' AND destination_service = '' AND destination_principal = '' AS nameless_destination,
            direction = 'egress' AND destination_namespace = '' AND destination_workload = '' AND destination_service != '' AS outside,
            cityHash64((
                'source', toString(source_cluster), toString(source_namespace), toString(source_workload),
                toString(source_service), toString(source_principal),
                if(nameless_source AND source_ip IN addressed, replaceOne(IPv6NumToString(source_ip), '::ffff:', ''), ''),
                if(nameless_source AND reporter = 'gateway', toString(mesh), ''), ''
            )) AS source_end,
            cityHash64((
                if(outside, 'outside', 'destination'),
                if(outside AND destination_cluster = '', toString(source_cluster), toString(destination_cluster)),
                toString(destination_namespace), toString(destination_workload), toString(destination_service),
                toString(destination_principal),
                if(nameless_destination AND destination_ip != toIPv6('::'),
                    replaceOne(IPv6NumToString(destination_ip), '::ffff:', ''), ''),
                if(outside, toString(source_namespace), ''), if(outside, toString(source_principal), '')
            )) AS destination_end
        FROM calls
        WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
            AND (log_type IN ('', 'request', 'connection_end', 'upstream_end', 'gateway_request')
                OR (log_type = 'audit' AND mesh = 'linkerd'))
            AND verdict = 'denied' AND weight > 0
            AND (base_edge_id = 0 OR (base_edge_id, edge_id) IN refusing OR toDate(received_at) < hours_kept_from)
    ),
    by_pair AS (
        SELECT
            s.node AS source,
            d.node AS destination,
            t.principal AS principal,
            if(t.at_gateway OR (s.node = {unknown:UInt32} AND t.principal = ''), t.client, '') AS address,
            t.is_flow AS is_flow,
            t.rank AS rank,
            toStartOfMinute(t.ts) AS minute,
            sum(t.weight) AS calls,
            min(t.ts) AS first_ts,
            max(t.ts) AS last_ts,
            groupUniqArray(1000)(cityHash64(d.node, t.target)) AS targets,
            groupUniqArray(100)(t.source_end) AS ends,
            groupArraySortedIf(16)((t.ts, t.request_id), t.request_id != '') AS requests,
            groupArraySortedIf(16)((t.ts, t.trace_id), t.trace_id != '') AS traces
        FROM told AS t
        INNER JOIN ends AS s ON t.source_end = s.end
        INNER JOIN ends AS d ON t.destination_end = d.end
        WHERE t.ts >= s.valid_from AND t.ts < s.valid_to AND t.ts >= d.valid_from AND t.ts < d.valid_to
        GROUP BY source, destination, principal, address, is_flow, rank, minute
    ),
    ranked AS (
        SELECT *, max(rank) OVER (PARTITION BY source, destination, is_flow, toStartOfHour(minute)) AS best
        FROM by_pair
    ),
    by_minute AS (
        SELECT
            source, principal, address, minute,
            sum(r.calls) AS calls,
            min(r.first_ts) AS first_ts,
            max(r.last_ts) AS last_ts,
            groupUniqArrayArray(1000)(r.targets) AS targets,
            groupUniqArray(100)(r.destination) AS destinations,
            groupUniqArrayArray(100)(r.ends) AS ends,
            arraySlice(arraySort(arrayFlatten(groupArray(r.requests))), 1, 16) AS requests,
            arraySlice(arraySort(arrayFlatten(groupArray(r.traces))), 1, 16) AS traces
        FROM ranked AS r
        WHERE rank = best
        GROUP BY source, principal, address, minute
    ),
    dense AS (
        SELECT
            *,
            sum(calls) OVER recent AS recent_calls,
            length(groupUniqArrayArray(targets) OVER recent) AS recent_targets,
            first_ts >= lagInFrame(last_ts) OVER before + toIntervalSecond({quiet_s:UInt32}) AS begins
        FROM by_minute
        WINDOW
            recent AS (PARTITION BY source, principal, address ORDER BY toUInt32(minute)
                RANGE BETWEEN {window_s:UInt32} PRECEDING AND CURRENT ROW),
            before AS (PARTITION BY source, principal, address ORDER BY toUInt32(minute)
                ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    ),
    numbered AS (
        SELECT
            *,
            sum(begins) OVER (PARTITION BY source, principal, address ORDER BY toUInt32(minute)
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS episode
        FROM dense
    )
SELECT
    source,
    principal,
    address,
    min(n.first_ts) AS first_ts,
    max(n.last_ts) AS last_ts,
    sum(n.calls) AS calls,
    length(groupUniqArrayArray(10000)(n.targets)) AS targets,
    arraySort(groupUniqArrayArray(100)(n.destinations)) AS destinations,
    max(n.recent_calls) AS peak_calls,
    max(n.recent_targets) AS peak_targets,
    greatest(peak_calls / {most_calls:UInt32}, peak_targets / {most_targets:UInt32}) AS score,
    arraySort(groupUniqArrayArray(100)(n.ends)) AS source_ends,
    arraySlice(arrayDistinct(arrayMap(x -> x.2, arraySort(arrayFlatten(groupArray(n.requests))))), 1, {samples:UInt8}) AS request_ids,
    arraySlice(arrayDistinct(arrayMap(x -> x.2, arraySort(arrayFlatten(groupArray(n.traces))))), 1, {samples:UInt8}) AS trace_ids
FROM numbered AS n
GROUP BY source, principal, address, episode
HAVING score >= 1
ORDER BY score DESC, first_ts, source, principal, address
LIMIT {row_limit:UInt64}
