-- Metrics that applications keep of the calls they make (OpenTelemetry's HTTP and RPC client metrics, Micrometer's
-- http.client.requests) and of those they answer (http.server...), which name no caller. Sources: opentelemetry.io,
-- "Semantic conventions: HTTP metrics, RPC metrics"; Spring Framework reference, "Observability support".
-- The other side is the host that was called. Caller-less points make edges from `unknown`, reporter `unknown`.
CREATE MATERIALIZED VIEW metric_samples_from_http_clients TO metric_samples AS
WITH
    replaceRegexpOne(replaceAll(name, '.', '_'), '(_(seconds|milliseconds))?(_count)?$', '') AS plain_name,
    position(plain_name, '_server_') > 0 AS is_server,
    startsWith(plain_name, 'rpc_') AS is_rpc,
    if(attributes['pod'] != '', attributes['pod'], toString(pod)) AS own_pod,
    multiIf(
        workload != '', workload,
        match(own_pod, '-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$'),
            replaceRegexpOne(own_pod, '-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$', ''),
        replaceRegexpOne(own_pod, '-([0-9]{1,5}|[bcdfghjklmnpqrstvwxz2456789]{5})$', '')) AS own_workload,
    if(attributes['namespace'] != '', attributes['namespace'], toString(namespace)) AS own_namespace,
    -- A scraped point's service.name is the name of the scrape job. Names without dots are Prometheus', whoever scraped.
    multiIf(
        attributes['application'] != '', attributes['application'],
        own_workload != '' AND (position(scope, 'prometheusreceiver') > 0 OR position(name, '.') = 0), '',
        toString(service)) AS own_service,
    arrayFirst(label -> attributes[label] NOT IN ('', 'none', 'UNKNOWN'), [
        'server.address', 'server_address', 'client.name', 'client_name', 'clientName', 'net.peer.name', 'net_peer_name']) AS host_label,
    trim(BOTH '[]' FROM lower(replaceRegexpOne(if(host_label = '', '', attributes[host_label]), '^(?:https?://)?([^/?#]*?)(:[0-9]+)?([/?#].*)?$', '\\1'))) AS host,
    arrayFirst(label -> attributes[label] != '', [
        'http.response.status_code', 'http_response_status_code', 'http.status_code', 'http_status_code', 'status']) AS code_label,
    toUInt16OrZero(if(code_label = '', '', attributes[code_label])) AS code,
    arrayFirst(label -> attributes[label] != '', [
        'rpc.grpc.status_code', 'rpc_grpc_status_code', 'rpc.response.status_code', 'rpc_response_status_code']) AS trailer_label,
    if(trailer_label = '', '', attributes[trailer_label]) AS trailer_text,
    if(match(trailer_text, '^[0-9]{1,3}$'), toInt32(trailer_text), -1) AS trailer
SELECT
    toStartOfMinute(subtractMicroseconds(ts, 1)) AS minute,
    ts,
    start_ts,
    toDate(received_at) AS received_on,
    cityHash64(arraySum(arrayMap((k, v) -> cityHash64(k, v), mapKeys(resource), mapValues(resource))), cluster, own_namespace, service, own_pod) AS target,
    cityHash64(name, scope, arraySum(arrayMap((k, v) -> cityHash64(k, v), mapKeys(attributes), mapValues(attributes))), target) AS series,
    concat(if(is_server, 'server_', 'client_'), plain_name) AS system,
    'calls' AS measure,
    1 AS count_rank,
    1 AS outcome_rank,
    type NOT IN ('summary', 'sum') AS timed,
    temporality != 'delta' AS cumulative,
    if(type = 'sum', value, toFloat64(count)) AS amount,
    multiIf(
        unit IN ('ms', 'milliseconds'), 1e3,
        unit IN ('s', 'seconds'), 1e6,
        unit IN ('us', 'microseconds'), 1,
        unit IN ('ns', 'nanoseconds'), 1e-3,
        endsWith(name, 'milliseconds') OR plain_name IN ('http_client_duration', 'http_server_duration', 'rpc_client_duration'), 1e3,
        1e6) AS unit_us,
    bounds,
    bucket_counts,
    scale,
    zero_count,
    positive_offset,
    positive_counts,
    code >= 500 OR trailer IN (2, 4, 13, 14, 15)
        OR (code = 0 AND trailer < 0 AND (attributes['error.type'] != '' OR attributes['error_type'] != ''
            OR (attributes['exception'] NOT IN ('', 'none', 'None')) OR attributes['status'] IN ('IO_ERROR', 'CLIENT_ERROR'))) AS failed,
    if(is_rpc, -1, code) AS status,
    trailer AS grpc_status,
    if(is_server, 'unknown', 'source') AS reporter,
    if(is_server, 'east_west', 'egress') AS direction,
    if(is_rpc, 'grpc', 'http') AS protocol,
    'unknown' AS tls,
    if(is_server, '', toString(cluster)) AS source_cluster,
    if(is_server, '', own_namespace) AS source_namespace,
    if(is_server, '', own_workload) AS source_workload,
    if(is_server, '', own_service) AS source_service,
    if(is_server, '', toString(version)) AS source_version,
    '' AS source_principal,
    if(is_server, toString(cluster), '') AS destination_cluster,
    if(is_server, own_namespace, '') AS destination_namespace,
    if(is_server, own_workload, '') AS destination_workload,
    if(is_server, own_service, host) AS destination_service,
    if(is_server, toString(version), '') AS destination_version,
    '' AS destination_principal
FROM metric_points
WHERE name IN (
        'http.client.request.duration', 'http_client_request_duration_seconds', 'http_client_request_duration',
        'http.client.duration', 'http_client_duration_milliseconds', 'http_client_duration',
        'http.client.requests', 'http_client_requests_seconds', 'http_client_requests_milliseconds', 'http_client_requests',
        'http_client_requests_seconds_count', 'http_client_requests_count',
        'rpc.client.duration', 'rpc_client_duration_milliseconds', 'rpc_client_duration',
        'http.server.request.duration', 'http_server_request_duration_seconds', 'http_server_request_duration',
        'http.server.duration', 'http_server_duration_milliseconds', 'http_server_duration',
        'http.server.requests', 'http_server_requests_seconds', 'http_server_requests_milliseconds', 'http_server_requests',
        'http_server_requests_seconds_count', 'http_server_requests_count')
    AND (type = 'summary' OR (type = 'sum' AND monotonic = 1 AND temporality IN ('cumulative', 'delta'))
        OR (type IN ('histogram', 'exponential_histogram') AND temporality IN ('cumulative', 'delta')))
    AND bitTest(flags, 0) = 0
    AND amount >= 0 AND amount < 1e15
    AND (own_service != '' OR own_workload != '')
    AND destination_service != ''
