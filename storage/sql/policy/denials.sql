-- Who was refused, by which policy and rule, for what, how often and since when: the ledger of denials of a window.
-- Refusals are seldom, so the rollup by hour says first which edges have any, and the primary key finds them (base_edge_id 0 are lines
-- that no rollup counts; older than the rollup, all are looked at). Calls that a policy on trial would have refused were let pass:
-- nothing finds those but reading the attributes of every call.
-- A call counts once: between two nodes, in each hour, lines of the callee's side (or a gateway's, a waypoint's, or Linkerd's
-- log of decisions) outrank those that say less of the same calls, the caller's side and 403s of Linkerd's access log. Flows are
-- apart: what the network drops at one side never comes to the other.
-- External: ends (end, node, in_namespace, in_service, valid_from, valid_to): the nodes of the ends that denial_ends.sql lists.
-- In: since, until (UTC), dry_run (1 = those on trial, too), samples (request ids for each row), row_limit (rows).
-- Out: source, destination (node numbers), principal, kind, denied_by (as the line names it), reason, operation (empty = not known),
-- dry_run, calls, first_ts, last_ts, hours and minutes (distinct ones with a refusal), request_ids (the earliest); most calls first.
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
            toString(source_principal) AS principal,
            toString(operation) AS operation,
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
            )) AS destination_end,
            startsWith(response_details, 'rbac_access_denied') OR startsWith(termination_details, 'rbac_access_denied')
                OR response_details = 'AuthzDenied' AS by_rbac,
            mesh = 'istio' AND protocol = 'tcp' AND NOT by_rbac
                AND match(termination_details, 'policy rejection|policy change|none allowed|explicitly denied by|http status: 401') AS by_ztunnel,
            multiIf(
                is_flow, 'network',
                mesh = 'linkerd', 'linkerd',
                denied_by = 'jwt_authn', 'jwt',
                startsWith(denied_by, 'ext_authz'), 'ext_authz',
                startsWith(denied_by, 'consul-intentions') OR (mesh = 'consul' AND by_rbac), 'consul',
                by_rbac OR startsWith(denied_by, 'ns['), 'rbac',
                by_ztunnel, 'ztunnel',
                denied_by != '', 'other',
                'unnamed') AS enforced_kind,
            multiIf(
                denied_by = 'none', 'no_allow',
                enforced_kind = 'jwt', extract(response_details, '^jwt_authn_access_denied\\{([^}]{1,200})'),
                enforced_kind = 'ext_authz' AND startsWith(response_details, 'ext_authz_error'), 'error',
                enforced_kind = 'network', substringUTF8(attributes['hubble.drop_reason_desc'], 1, 100),
                match(termination_details, 'due to policy change'), 'policy_changed',
                enforced_kind = 'linkerd' AND denied_by != '', 'no_allow',
                enforced_kind = 'ztunnel', replaceAll(extract(termination_details, '(workload not found|workload mismatch)'), ' ', '_'),
                '') AS enforced_reason,
            arrayConcat(
                arrayZip(CAST(mapKeys(attributes), 'Array(String)'), mapValues(attributes)),
                arrayFlatten(arrayMap(
                    (key, value) -> if(position(lower(key), 'rbac') > 0 AND position(value, 'shadow_engine_result') > 0,
                        JSONExtractKeysAndValues(value, 'String'), []),
                    mapKeys(attributes), mapValues(attributes)))) AS said,
            arrayConcat(
                if(attributes['dry_run_result'] = 'AuthzDenied', [(
                    toUInt8(1), 'rbac',
                    if(attributes['dry_run_policy_name'] = '', 'none', concat(
                        'ns[', extract(attributes['dry_run_policy_name'], '^([^.]*)\\.'), ']-policy[',
                        extract(attributes['dry_run_policy_name'], '^(?:[^.]*\\.)?(.*)$'), ']',
                        if(attributes['dry_run_policy_rule'] = '', '', concat('-rule[', attributes['dry_run_policy_rule'], ']')))),
                    if(attributes['dry_run_policy_name'] = '', 'no_allow', ''))], []),
                if(attributes['linkerd.audit'] = '', [], [(toUInt8(1), 'linkerd', attributes['linkerd.audit'], 'no_allow')]),
                arrayMap(
                    pair -> (toUInt8(1), 'rbac', coalesce(nullIf(arrayFirst(
                        other -> other.1 = replaceOne(pair.1, 'shadow_engine_result', 'shadow_effective_policy_id'), said).2, '') AS shadow, 'none'),
                        if(shadow IS NULL, 'no_allow', '')),
                    arrayFilter(
                        pair -> match(pair.1, 'shadow_engine_result\\]?$') AND pair.2 = 'denied' AND position(pair.1, 'ext_authz') = 0,
                        said))) AS on_trial,
            arrayJoin(arrayConcat(
                if(verdict = 'denied', [(toUInt8(0), enforced_kind, toString(denied_by), enforced_reason)], []),
                if({dry_run:UInt8} = 1, on_trial, []))) AS refusal
        FROM calls
        WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
            AND (log_type IN ('', 'request', 'connection_end', 'upstream_end', 'gateway_request')
                OR (log_type = 'audit' AND mesh = 'linkerd'))
            AND (verdict = 'denied' OR ({dry_run:UInt8} = 1 AND (attributes['dry_run_result'] = 'AuthzDenied'
                OR attributes['linkerd.audit'] != ''
                OR arrayExists(x -> position(x, 'shadow_engine_result') > 0, arrayConcat(mapKeys(attributes), mapValues(attributes))))))
            AND ({dry_run:UInt8} = 1 OR base_edge_id = 0 OR (base_edge_id, edge_id) IN refusing OR toDate(received_at) < hours_kept_from)
    ),
    hourly AS (
        SELECT
            s.node AS source,
            d.node AS destination,
            t.principal AS principal,
            t.operation AS operation,
            t.refusal AS refusal,
            t.is_flow AS is_flow,
            t.rank AS rank,
            toStartOfHour(t.ts) AS hour,
            sum(t.weight) AS calls,
            min(t.ts) AS first_ts,
            max(t.ts) AS last_ts,
            uniqExact(toStartOfMinute(t.ts)) AS minutes,
            groupArraySortedIf(16)((t.ts, t.request_id), t.request_id != '') AS earliest
        FROM told AS t
        INNER JOIN ends AS s ON t.source_end = s.end
        INNER JOIN ends AS d ON t.destination_end = d.end
        WHERE t.ts >= s.valid_from AND t.ts < s.valid_to AND t.ts >= d.valid_from AND t.ts < d.valid_to
            AND (s.in_namespace OR d.in_namespace) AND (s.in_service OR d.in_service)
        GROUP BY source, destination, principal, operation, refusal, is_flow, rank, hour
    ),
    ranked AS (
        SELECT *, max(rank) OVER (PARTITION BY source, destination, is_flow, refusal.1, hour) AS best
        FROM hourly
    )
SELECT
    source,
    destination,
    principal,
    refusal.2 AS kind,
    refusal.3 AS denied_by,
    refusal.4 AS reason,
    operation,
    refusal.1 AS dry_run,
    sum(r.calls) AS calls,
    min(r.first_ts) AS first_ts,
    max(r.last_ts) AS last_ts,
    count() AS hours,
    sum(r.minutes) AS minutes,
    arraySlice(arrayDistinct(arrayMap(x -> x.2, arraySort(arrayFlatten(groupArray(r.earliest))))), 1, {samples:UInt8}) AS request_ids
FROM ranked AS r
WHERE rank = best
GROUP BY source, destination, principal, refusal, operation
HAVING calls > 0
ORDER BY calls DESC, last_ts DESC, source, destination, principal, kind, denied_by, reason, operation, dry_run
LIMIT {row_limit:UInt64}
