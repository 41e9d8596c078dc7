-- Both ends of every refused call of a window, as its line called them: what denials.sql needs nodes for. A side is described as in
-- the view edge_endpoints; one that only an address describes is that address, a caller only where the alias table knows it.
-- Rows of the window are found as in denials.sql, which says why.
-- In: since, until (UTC), dry_run (1 = calls, too, that policies on trial would have refused), row_limit (rows).
-- Out: end (hash), side (source, destination or outside), the parts of an Endpoint (cluster, namespace, workload, service, account,
-- host, hint), and the mesh of a gateway that nobody names.
WITH
    principal -> extract(principal, '^spiffe://[^/]*(?:/[^/]*/[^/]*)*?/sa/([^/]*)(?:/[^/]*/[^/]*)*$') AS sa,
    principal -> extract(principal, '^spiffe://[^/]*(?:/[^/]*/[^/]*)*?/svc/([^/]*)(?:/[^/]*/[^/]*)*$') AS svc,
    principal -> extract(principal, '^spiffe://[^/]*(?:/[^/]*/[^/]*)*?/ns/([^/]*)(?:/[^/]*/[^/]*)*$') AS ns,
    principal -> coalesce(
        nullIf(sa(principal), ''),
        nullIf(svc(principal), ''),
        nullIf(extract(principal, '^([^/]*?)\\.[^./]*\\.serviceaccount\\.identity(?:\\.[^/]*)?$'), ''),
        nullIf(extract(principal, '^([^./]*)\\.[^./]*\\.cluster\\.local$'), ''),
        principal) AS account_of,
    principal -> coalesce(
        nullIf(if(ns(principal) = 'default' AND svc(principal) != '' AND sa(principal) = '', '', ns(principal)), ''),
        nullIf(extract(principal, '^[^/]*?\\.([^./]*)\\.serviceaccount\\.identity(?:\\.[^/]*)?$'), ''),
        extract(principal, '^[^./]*\\.([^./]*)\\.cluster\\.local$')) AS namespace_of,
    addressed AS (SELECT toIPv6OrZero(name) AS ip FROM aliases FINAL WHERE kind IN ('pod_ip', 'service_ip')),
    refusing AS (
        SELECT base_edge_id, edge_id
        FROM edges_1h
        WHERE denied > 0 AND hour >= toStartOfHour({since:DateTime64(6, 'UTC')}) AND hour < {until:DateTime64(6, 'UTC')}
    ),
    (SELECT if(count() = 0, toDate('2149-06-06'), min(received_on)) FROM edges_1h) AS hours_kept_from,
    described AS (
        SELECT
            source_workload = '' AND source_service = '' AND source_principal = '' AS nameless_source,
            destination_workload = '' AND destination_service = '' AND destination_principal = '' AS nameless_destination,
            direction = 'egress' AND destination_namespace = '' AND destination_workload = '' AND destination_service != '' AS outside,
            (
                'source', toString(source_cluster), toString(source_namespace), toString(source_workload),
                toString(source_service), toString(source_principal),
                if(nameless_source AND source_ip IN addressed, replaceOne(IPv6NumToString(source_ip), '::ffff:', ''), ''),
                if(nameless_source AND reporter = 'gateway', toString(mesh), ''), ''
            ) AS source_side,
            (
                if(outside, 'outside', 'destination'),
                if(outside AND destination_cluster = '', toString(source_cluster), toString(destination_cluster)),
                toString(destination_namespace), toString(destination_workload), toString(destination_service),
                toString(destination_principal),
                if(nameless_destination AND destination_ip != toIPv6('::'),
                    replaceOne(IPv6NumToString(destination_ip), '::ffff:', ''), ''),
                if(outside, toString(source_namespace), ''), if(outside, toString(source_principal), '')
            ) AS destination_side
        FROM calls
        WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
            AND (log_type IN ('', 'request', 'connection_end', 'upstream_end', 'gateway_request')
                OR (log_type = 'audit' AND mesh = 'linkerd'))
            AND (verdict = 'denied' OR ({dry_run:UInt8} = 1 AND (attributes['dry_run_result'] = 'AuthzDenied'
                OR attributes['linkerd.audit'] != ''
                OR arrayExists(x -> position(x, 'shadow_engine_result') > 0, arrayConcat(mapKeys(attributes), mapValues(attributes))))))
            AND ({dry_run:UInt8} = 1 OR base_edge_id = 0 OR (base_edge_id, edge_id) IN refusing OR toDate(received_at) < hours_kept_from)
    ),
    distinct_sides AS (SELECT DISTINCT arrayJoin([source_side, destination_side]) AS side FROM described)
SELECT
    cityHash64(side) AS end,
    side.1 AS side,
    side.2 AS cluster,
    if(side.3 = '' AND side.1 != 'outside', namespace_of(side.6), side.3) AS namespace,
    side.4 AS workload,
    if(side.1 = 'outside', '', side.5) AS service,
    if(side.1 = 'outside', '', account_of(side.6)) AS account,
    if(side.1 = 'outside', side.5, side.7) AS host,
    if(side.1 != 'outside', '', if(side.8 = '', namespace_of(side.9), side.8)) AS hint,
    if(side.1 = 'source', side.8, '') AS mesh
FROM distinct_sides
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
