-- Envoy's own cluster metrics, scraped or from its OpenTelemetry stats sink. Source: envoyproxy.io, "Cluster manager: Statistics".
-- The caller is the pod that reports, the callee what its cluster's name says: Istio's direction|port|subset|host,
-- Consul's service.namespace.dc.internal.id.consul (`default` is no namespace), OSM's namespace/service|port, else the name itself.
-- A response of a class (upstream_rq_xx) has no status of its own: it tells errors only. Retries count: each is a request of the cluster.
CREATE MATERIALIZED VIEW metric_samples_from_envoy TO metric_samples AS
WITH
    if(attributes['pod'] != '', attributes['pod'], toString(pod)) AS own_pod,
    multiIf(
        workload != '', workload,
        match(own_pod, '-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$'),
            replaceRegexpOne(own_pod, '-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$', ''),
        replaceRegexpOne(own_pod, '-([0-9]{1,5}|[bcdfghjklmnpqrstvwxz2456789]{5})$', '')) AS own_workload,
    if(attributes['namespace'] != '', attributes['namespace'], toString(namespace)) AS own_namespace,
    replaceRegexpOne(name, '^(envoy[._])?cluster[._]upstream_(cx|rq)', '\\2') AS short,
    replaceRegexpOne(short, '_(total|milliseconds)$', '') AS stat,
    arrayFirst(label -> attributes[label] != '',
        ['envoy_cluster_name', 'cluster_name', 'envoy.cluster_name']) AS name_label,
    trimRight(if(name_label = '', '', attributes[name_label]), ';') AS upstream,
    arrayFirst(label -> attributes[label] != '',
        ['envoy_response_code', 'response_code', 'envoy.response_code']) AS code_label,
    arrayFirst(label -> attributes[label] != '',
        ['envoy_response_code_class', 'response_code_class', 'envoy.response_code_class']) AS class_label,
    toUInt16OrZero(if(code_label = '', '', attributes[code_label])) AS code,
    if(class_label = '', '', attributes[class_label]) AS class,
    extractGroups(upstream, '^outbound\\|[0-9]+\\|[^|]*\\|([^|]+)$') AS istio,
    extractGroups(upstream, '^outbound_\\.[0-9]+_\\.[^.]*_\\.(.+)$') AS istio_dns,
    extractGroups(upstream, '^([^/|]+)/([^/|]+)\\|[0-9]{1,5}$') AS osm,
    extractGroups(upstream, '^(?:[^.]+\\.)?([^.]+)\\.([^.]+)\\.(?:[^.]+\\.(?:internal|external)|[^.]+\\.[^.]+\\.internal-v[0-9]+)\\.[^.]+\\.consul$') AS consul,
    lower(multiIf(notEmpty(istio), istio[1], notEmpty(istio_dns), istio_dns[1], upstream)) AS host,
    extractGroups(host, '^([^.]+)\\.([^.]+)\\.svc(?:\\.|$)') AS in_cluster,
    multiIf(
        notEmpty(osm), (osm[1], osm[2]),
        notEmpty(consul), (if(consul[2] = 'default', '', consul[2]), consul[1]),
        notEmpty(in_cluster), (in_cluster[2], in_cluster[1]),
        ('', host)) AS callee,
    callee.1 = '' AND position(callee.2, '.') > 0 AS is_outside
SELECT
    toStartOfMinute(subtractMicroseconds(ts, 1)) AS minute,
    ts,
    start_ts,
    toDate(received_at) AS received_on,
    cityHash64(arraySum(arrayMap((k, v) -> cityHash64(k, v), mapKeys(resource), mapValues(resource))), cluster, own_namespace, service, own_pod) AS target,
    cityHash64(name, scope, arraySum(arrayMap((k, v) -> cityHash64(k, v), mapKeys(attributes), mapValues(attributes))), target) AS series,
    'envoy' AS system,
    'calls' AS measure,
    multiIf(stat = 'rq_time', 1, stat = 'rq_xx', 2, code > 0, 3, 4) AS count_rank,
    multiIf(stat = 'rq_xx', 1, code > 0, 2, 0) AS outcome_rank,
    stat = 'rq_time' AND type != 'summary' AS timed,
    temporality != 'delta' AS cumulative,
    if(type = 'sum', value, toFloat64(count)) AS amount,
    1e3 AS unit_us,
    if(timed, bounds, []) AS bounds,
    if(timed, bucket_counts, []) AS bucket_counts,
    scale,
    zero_count,
    positive_offset,
    if(timed, positive_counts, []) AS positive_counts,
    code >= 500 OR startsWith(class, '5') AS failed,
    if(code > 0, code, -1) AS status,
    -1 AS grpc_status,
    'source' AS reporter,
    if(is_outside, 'egress', 'east_west') AS direction,
    '' AS protocol,
    'unknown' AS tls,
    cluster AS source_cluster,
    own_namespace AS source_namespace,
    own_workload AS source_workload,
    -- Whoever scraped a proxy, service.name is the name of the scrape job, not the pod's.
    if(own_workload != '', '', service) AS source_service,
    version AS source_version,
    '' AS source_principal,
    '' AS destination_cluster,
    callee.1 AS destination_namespace,
    '' AS destination_workload,
    callee.2 AS destination_service,
    '' AS destination_version,
    '' AS destination_principal
FROM metric_points
WHERE name IN (
        'envoy_cluster_upstream_rq_total', 'envoy_cluster_upstream_rq', 'envoy_cluster_upstream_rq_xx',
        'envoy_cluster_upstream_rq_xx_total', 'envoy_cluster_upstream_rq_time', 'envoy_cluster_upstream_rq_time_milliseconds',
        'cluster.upstream_rq_total', 'cluster.upstream_rq', 'cluster.upstream_rq_xx', 'cluster.upstream_rq_time',
        'envoy.cluster.upstream_rq_total', 'envoy.cluster.upstream_rq', 'envoy.cluster.upstream_rq_xx', 'envoy.cluster.upstream_rq_time')
    AND (type = 'summary' OR (type = 'sum' AND monotonic = 1 AND temporality IN ('cumulative', 'delta'))
        OR (type IN ('histogram', 'exponential_histogram') AND temporality IN ('cumulative', 'delta')))
    AND bitTest(flags, 0) = 0
    AND amount >= 0 AND amount < 1e15
    AND callee.2 != ''
    AND NOT match(upstream, '^inbound|^InboundPassthrough|\\|local$')
    AND upstream NOT IN (
        'PassthroughCluster', 'BlackHoleCluster', 'original-destination', 'passthrough-outbound', 'local_app', 'local_agent',
        'self_admin', 'prometheus_backend', 'prometheus_stats', 'agent', 'xds-grpc', 'sds-grpc', 'zipkin',
        'envoy-admin-cluster', 'envoy-metrics-cluster', 'envoy-tracing-cluster', 'xds_cluster')
    AND (source_service != '' OR source_workload != '')
