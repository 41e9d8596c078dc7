-- Istio's standard metrics, of sidecars, gateways, waypoints and ztunnels. Source: istio.io, "Istio Standard Metrics".
-- Names may lack what a Prometheus receiver trims (_total, the unit). `unknown` is Istio's word for a label without a value.
-- A service whose name is a host (of a ServiceEntry, or a passed-through Host header) is a host outside.
CREATE MATERIALIZED VIEW metric_samples_from_istio TO metric_samples AS
WITH
    (label) -> if(attributes[label] = 'unknown', '', attributes[label]) AS known,
    name IN ('istio_request_duration_milliseconds', 'istio_request_duration') AS is_latency,
    name IN ('istio_request_bytes', 'istio_response_bytes') AS is_size,
    startsWith(name, 'istio_tcp_') AS is_tcp,
    lower(replaceRegexpOne(known('destination_service'), ':[0-9]+$', '')) AS host,
    known('destination_service_name') IN ('PassthroughCluster', 'BlackHoleCluster')
        OR (position(host, '.') > 0 AND NOT match(host, '^[^.]+\\.[^.]+\\.svc(\\.|$)')) AS is_host,
    is_host AND known('destination_workload') = '' AS is_outside,
    if(is_tcp, 0, toUInt16OrZero(attributes['response_code'])) AS code,
    if(match(attributes['grpc_response_status'], '^[0-9]{1,3}$'), toInt32(attributes['grpc_response_status']), -1) AS trailer
SELECT
    toStartOfMinute(subtractMicroseconds(ts, 1)) AS minute,
    ts,
    start_ts,
    toDate(received_at) AS received_on,
    cityHash64(arraySum(arrayMap((k, v) -> cityHash64(k, v), mapKeys(resource), mapValues(resource))), cluster, namespace, service, pod) AS target,
    cityHash64(name, scope, arraySum(arrayMap((k, v) -> cityHash64(k, v), mapKeys(attributes), mapValues(attributes))), target) AS series,
    if(is_tcp, 'istio_tcp', 'istio') AS system,
    multiIf(
        name IN ('istio_response_bytes', 'istio_tcp_sent_bytes_total', 'istio_tcp_sent_bytes'), 'sent',
        name IN ('istio_request_bytes', 'istio_tcp_received_bytes_total', 'istio_tcp_received_bytes'), 'received',
        'calls') AS measure,
    multiIf(
        measure != 'calls', 0,
        is_latency OR name IN ('istio_tcp_connections_closed_total', 'istio_tcp_connections_closed'), 1,
        2) AS count_rank,
    -- How a connection ended stands in the series of its end.
    multiIf(measure != 'calls', 0, is_tcp, 3 - count_rank, count_rank) AS outcome_rank,
    is_latency AND type != 'summary' AS timed,
    temporality != 'delta' AS cumulative,
    multiIf(type = 'sum', value, is_size, sum, toFloat64(count)) AS amount,
    multiIf(unit IN ('s', 'seconds'), 1e6, unit IN ('us', 'microseconds'), 1, 1e3) AS unit_us,
    if(timed, bounds, []) AS bounds,
    if(timed, bucket_counts, []) AS bucket_counts,
    scale,
    zero_count,
    positive_offset,
    if(timed, positive_counts, []) AS positive_counts,
    code >= 500 OR trailer IN (2, 4, 13, 14, 15) OR (code = 0 AND attributes['response_flags'] NOT IN ('', '-', 'DC', 'unknown')) AS failed,
    if(is_tcp OR attributes['response_code'] = '', -1, code) AS status,
    trailer AS grpc_status,
    if(attributes['reporter'] IN ('source', 'destination', 'waypoint'), attributes['reporter'], 'unknown') AS reporter,
    if(is_outside, 'egress', 'east_west') AS direction,
    if(is_tcp, 'tcp', lower(known('request_protocol'))) AS protocol,
    transform(attributes['connection_security_policy'], ['mutual_tls', 'none'], ['mtls', 'plaintext'], 'unknown') AS tls,
    known('source_cluster') AS source_cluster,
    known('source_workload_namespace') AS source_namespace,
    known('source_workload') AS source_workload,
    '' AS source_service,
    known('source_version') AS source_version,
    known('source_principal') AS source_principal,
    if(is_outside, '', known('destination_cluster')) AS destination_cluster,
    multiIf(
        is_outside, '',
        known('destination_service_namespace') != '', known('destination_service_namespace'),
        known('destination_workload_namespace')) AS destination_namespace,
    known('destination_workload') AS destination_workload,
    if(is_outside, if(host = '', known('destination_service_name'), host), known('destination_service_name')) AS destination_service,
    known('destination_version') AS destination_version,
    known('destination_principal') AS destination_principal
FROM metric_points
WHERE name IN (
        'istio_requests_total', 'istio_requests', 'istio_request_duration_milliseconds', 'istio_request_duration',
        'istio_request_bytes', 'istio_response_bytes',
        'istio_tcp_connections_opened_total', 'istio_tcp_connections_opened',
        'istio_tcp_connections_closed_total', 'istio_tcp_connections_closed',
        'istio_tcp_sent_bytes_total', 'istio_tcp_sent_bytes', 'istio_tcp_received_bytes_total', 'istio_tcp_received_bytes')
    AND (type = 'summary' OR (type = 'sum' AND monotonic = 1 AND temporality IN ('cumulative', 'delta'))
        OR (type IN ('histogram', 'exponential_histogram') AND temporality IN ('cumulative', 'delta')))
    AND bitTest(flags, 0) = 0
    AND amount >= 0 AND amount < 1e15
    AND (destination_service != '' OR destination_workload != '' OR destination_principal != '')
