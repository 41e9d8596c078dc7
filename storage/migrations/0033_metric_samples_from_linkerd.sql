-- Linkerd's proxy metrics. Source: linkerd.io, "Proxy Metrics". Labels of the pod itself are those that Linkerd's scrape
-- configuration adds (namespace, deployment, pod), else the resource's. A connection's metrics count connections that
-- carry requests too: metric_edges takes system linkerd_tcp only where there are no requests between the two.
-- Probes of the kubelet (route `probe`) are no calls of a service.
-- What a policy refused (inbound_*_authz_deny_total) the proxy counts before it counts requests and responses, so it stands in none of
-- them; a connection that it cut when the policy changed (.._terminate_total) was refused too. linkerd2-proxy: inbound/src/metrics/authz.rs.
CREATE MATERIALIZED VIEW metric_samples_from_linkerd TO metric_samples AS
WITH
    ['deployment', 'statefulset', 'daemonset', 'cronjob', 'k8s_job', 'replicationcontroller', 'replicaset'] AS kinds,
    if(attributes['pod'] != '', attributes['pod'], toString(pod)) AS own_pod,
    multiIf(
        arrayFirst(kind -> attributes[kind] != '', kinds) AS own_kind != '', attributes[own_kind],
        workload != '', workload,
        match(own_pod, '-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$'),
            replaceRegexpOne(own_pod, '-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$', ''),
        replaceRegexpOne(own_pod, '-([0-9]{1,5}|[bcdfghjklmnpqrstvwxz2456789]{5})$', '')) AS own_workload,
    if(attributes['namespace'] != '', attributes['namespace'], toString(namespace)) AS own_namespace,
    arrayFirst(kind -> attributes[concat('dst_', kind)] != '', arrayPushBack(kinds, 'job')) AS dst_kind,
    lower(replaceRegexpOne(attributes['authority'], ':[0-9]+$', '')) AS host,
    extractGroups(host, '^([^.]+)\\.([^.]+)\\.svc(?:\\.|$)') AS in_cluster,
    replaceRegexpOne(attributes['target_addr'], ':[0-9]+$', '') AS address,
    startsWith(name, 'inbound_') AS is_denial,
    attributes['direction'] = 'outbound' AND NOT is_denial AS is_outbound,
    is_outbound AND dst_kind = '' AND attributes['dst_service'] = '' AND empty(in_cluster) AS is_outside,
    match(name, '^(inbound_)?tcp_') AS is_tcp,
    startsWith(name, 'response_latency') AS is_latency,
    startsWith(name, 'response') AS has_outcome,
    toUInt16OrZero(attributes['status_code']) AS code,
    if(attributes['grpc_status_code'] != '', attributes['grpc_status_code'], attributes['grpc_status']) AS trailer_text,
    if(match(trailer_text, '^[0-9]{1,3}$'), toInt32(trailer_text), -1) AS trailer
SELECT
    toStartOfMinute(subtractMicroseconds(ts, 1)) AS minute,
    ts,
    start_ts,
    toDate(received_at) AS received_on,
    cityHash64(arraySum(arrayMap((k, v) -> cityHash64(k, v), mapKeys(resource), mapValues(resource))), cluster, own_namespace, service, own_pod) AS target,
    cityHash64(name, scope, arraySum(arrayMap((k, v) -> cityHash64(k, v), mapKeys(attributes), mapValues(attributes))), target) AS series,
    multiIf(NOT is_tcp, 'linkerd', is_denial, 'linkerd_authz', 'linkerd_tcp') AS system,
    -- Seen from the proxy: what it writes to its peer on the caller's side is the request.
    multiIf(
        is_denial, 'denied',
        NOT startsWith(name, 'tcp_read') AND NOT startsWith(name, 'tcp_write'), 'calls',
        startsWith(name, 'tcp_read') = is_outbound, 'sent',
        'received') AS measure,
    multiIf(measure != 'calls', 0, is_tcp OR is_latency, 1, has_outcome, 3, 2) AS count_rank,
    multiIf(NOT has_outcome, 0, is_latency, 1, 2) AS outcome_rank,
    is_latency AND type != 'summary' AS timed,
    temporality != 'delta' AS cumulative,
    if(type = 'sum', value, toFloat64(count)) AS amount,
    1e3 AS unit_us,
    if(timed, bounds, []) AS bounds,
    if(timed, bucket_counts, []) AS bucket_counts,
    scale,
    zero_count,
    positive_offset,
    if(timed, positive_counts, []) AS positive_counts,
    code >= 500 OR trailer IN (2, 4, 13, 14, 15) OR (code = 0 AND attributes['classification'] = 'failure') AS failed,
    if(attributes['status_code'] = '', -1, code) AS status,
    trailer AS grpc_status,
    if(is_outbound, 'source', 'destination') AS reporter,
    if(is_outside, 'egress', 'east_west') AS direction,
    multiIf(is_tcp, 'tcp', trailer >= 0, 'grpc', 'http') AS protocol,
    multiIf(
        attributes['tls'] = 'true', if(attributes[if(is_outbound, 'server_id', 'client_id')] != '', 'mtls', 'tls'),
        attributes['tls'] = 'opaque', 'tls',
        attributes['tls'] IN ('no_identity', 'disabled', 'loopback', 'no_tls'), 'plaintext',
        'unknown') AS tls,
    if(is_outbound, toString(cluster), '') AS source_cluster,
    if(is_outbound, own_namespace, '') AS source_namespace,
    if(is_outbound, own_workload, '') AS source_workload,
    '' AS source_service,
    if(is_outbound, toString(version), '') AS source_version,
    if(is_outbound, '', attributes['client_id']) AS source_principal,
    if(is_outbound, '', toString(cluster)) AS destination_cluster,
    multiIf(
        NOT is_outbound, own_namespace,
        attributes['dst_namespace'] != '', attributes['dst_namespace'],
        in_cluster[2]) AS destination_namespace,
    if(is_outbound, if(dst_kind = '', '', attributes[concat('dst_', dst_kind)]), own_workload) AS destination_workload,
    multiIf(
        NOT is_outbound, '',
        attributes['dst_service'] != '', attributes['dst_service'],
        notEmpty(in_cluster), in_cluster[1],
        is_outside, if(host = '', trim(BOTH '[]' FROM address), host),
        '') AS destination_service,
    if(is_outbound, '', toString(version)) AS destination_version,
    if(is_outbound, attributes['server_id'], '') AS destination_principal
FROM metric_points
WHERE name IN (
        'request_total', 'response_total', 'response_latency_ms', 'response_latency_milliseconds',
        'tcp_open_total', 'tcp_read_bytes_total', 'tcp_write_bytes_total',
        'request', 'response', 'response_latency', 'tcp_open', 'tcp_read_bytes', 'tcp_write_bytes',
        'inbound_http_authz_deny_total', 'inbound_tcp_authz_deny_total', 'inbound_tcp_authz_terminate_total',
        'inbound_http_authz_deny', 'inbound_tcp_authz_deny', 'inbound_tcp_authz_terminate')
    AND (type = 'summary' OR (type = 'sum' AND monotonic = 1 AND temporality IN ('cumulative', 'delta'))
        OR (type IN ('histogram', 'exponential_histogram') AND temporality IN ('cumulative', 'delta')))
    AND bitTest(flags, 0) = 0
    AND amount >= 0 AND amount < 1e15
    AND (is_denial OR (attributes['direction'] IN ('inbound', 'outbound') AND attributes['peer'] IN ('', if(is_outbound, 'dst', 'src'))))
    AND attributes['route_name'] != 'probe'
    AND own_workload != ''
    AND (NOT is_outside OR destination_service != '')
