-- Edges of the calls in [since, until) whose caller or destination is known by its address only (edge_id 0).
--
-- An address is the pod or service that the alias table names at the time of the call; if that table never knew it, the
-- workload that the lines within an hour name for it themselves, where they agree; else, for a caller, the one
-- source-side line of the same request id to the same destination. A gateway of Envoy Gateway or Emissary that nobody can name
-- goes by its product's name (as Kong and ingress-nginx do). What else stays unresolved is the unknown caller, or a
-- host outside named by its address; the callee of its own sidecar's line is no host outside, whatever its name.
--
-- Inputs: since, until (UTC seconds, whole minutes), generation, derived_on (as trace_edges). Output: derived_edges_1m.
INSERT INTO derived_edges_1m
    (kind, minute, edge_id, base_edge_id, derived_on, generation, evidence, reporter, direction, protocol, tls, source_cluster, source_namespace, source_workload, source_service, source_version, source_principal, destination_cluster, destination_namespace, destination_workload, destination_service, destination_version, destination_principal, operation, requests, errors, denied, timed, sized, bytes_sent, bytes_received, log_us_sum, log_us_sum2, statuses, grpc_statuses, faults, histogram, first_ts, last_ts)
WITH
    named_addresses AS (
        SELECT toIPv6OrZero(name) AS ip, name, cluster, namespace, workload, service, version, valid_from, valid_to
        FROM aliases FINAL
        WHERE kind IN ('pod_ip', 'service_ip') AND toIPv6OrZero(name) != toIPv6('::') AND valid_from < valid_to
    ),
    spoken_for AS (
        SELECT ip, any(said) AS names
        FROM (
            SELECT source_ip AS ip,
                (source_cluster, source_namespace, source_workload, source_service, source_version, source_principal) AS said
            FROM calls
            WHERE reporter = 'source' AND (bitTest(logged, 6) OR bitTest(logged, 7))
                AND ts >= {since:DateTime64(0, 'UTC')} - toIntervalHour(1) AND ts < {until:DateTime64(0, 'UTC')} + toIntervalHour(1)
            UNION ALL
            SELECT destination_ip AS ip,
                (destination_cluster, destination_namespace, destination_workload, destination_service,
                    destination_version, destination_principal) AS said
            FROM calls
            WHERE reporter = 'destination' AND (bitTest(logged, 16) OR bitTest(logged, 17))
                AND ts >= {since:DateTime64(0, 'UTC')} - toIntervalHour(1) AND ts < {until:DateTime64(0, 'UTC')} + toIntervalHour(1)
        )
        WHERE ip != toIPv6('::') AND NOT startsWith(IPv6NumToString(ip), '::ffff:127.') AND (said.3 != '' OR said.4 != '')
            AND ip NOT IN (SELECT ip FROM named_addresses)
        GROUP BY ip
        HAVING uniqExact((said.2, said.4, if(said.4 = '', said.3, ''))) = 1
    ),
    senders AS (
        SELECT request_id, destination_namespace, destination_service, any(said) AS names
        FROM (
            SELECT request_id, destination_namespace, destination_service,
                (source_cluster, source_namespace, source_workload, source_service, source_version, source_principal) AS said
            FROM calls
            WHERE edge_id != 0 AND reporter IN ('source', 'gateway') AND request_id != ''
                AND ts >= {since:DateTime64(0, 'UTC')} - toIntervalMinute(10) AND ts < {until:DateTime64(0, 'UTC')} + toIntervalMinute(10)
        )
        GROUP BY request_id, destination_namespace, destination_service
        HAVING uniqExact((said.2, said.4, if(said.4 = '', said.3, ''))) = 1
    ),
    unnamed AS (
        SELECT *
        FROM calls
        WHERE base_edge_id = 0 AND edge_id = 0 AND log_type IN ('', 'request', 'connection_end')
            AND (destination_ip != toIPv6('::') OR destination_workload != '' OR destination_service != ''
                OR destination_principal != '')
            AND ts >= {since:DateTime64(0, 'UTC')} AND ts < {until:DateTime64(0, 'UTC')}
    ),
    caller AS (
        SELECT
            u.ts AS ts, u.reporter AS reporter, u.direction AS direction, u.protocol AS protocol, u.tls AS tls,
            u.operation AS operation, u.status AS status, u.grpc_status AS grpc_status,
            u.response_flags AS response_flags, u.verdict AS verdict, u.fault AS fault, u.logged AS logged,
            u.weight AS weight, u.mesh AS mesh, u.duration_us AS duration_us, u.bytes_sent AS bytes_sent, u.bytes_received AS bytes_received,
            u.destination_cluster AS destination_cluster, u.destination_namespace AS destination_namespace,
            u.destination_workload AS destination_workload, u.destination_service AS destination_service,
            u.destination_version AS destination_version, u.destination_principal AS destination_principal,
            u.destination_ip AS destination_ip,
            multiIf(
                u.source_workload != '' OR u.source_service != '' OR u.source_principal != '',
                    (toString(u.source_cluster), toString(u.source_namespace), toString(u.source_workload),
                        toString(u.source_service), toString(u.source_version), toString(u.source_principal)),
                a.name != '' AND u.ts < a.valid_to,
                    (toString(a.cluster), toString(a.namespace), toString(a.workload), toString(a.service), toString(a.version), ''),
                (l.names.3 != '' OR l.names.4 != ''), l.names,
                (s.names.3 != '' OR s.names.4 != '' OR s.names.6 != ''), s.names,
                ('', '', '', if(u.reporter = 'gateway',
                    transform(toString(u.mesh), ['envoy_gateway', 'emissary'], ['envoy-gateway', 'emissary-ingress'], ''), ''), '', '')) AS source
        FROM unnamed AS u
        ASOF LEFT JOIN named_addresses AS a ON u.source_ip = a.ip AND u.ts >= a.valid_from
        LEFT JOIN spoken_for AS l ON u.source_ip = l.ip
        LEFT JOIN senders AS s ON u.request_id = s.request_id
            AND u.destination_namespace = s.destination_namespace AND u.destination_service = s.destination_service
    ),
    both AS (
        SELECT
            c.ts AS ts, c.reporter AS reporter, c.direction AS direction, c.protocol AS protocol, c.tls AS tls,
            c.operation AS operation, c.status AS status, c.grpc_status AS grpc_status,
            c.response_flags AS response_flags, c.verdict AS verdict, c.fault AS fault, c.logged AS logged,
            c.weight AS weight, c.mesh AS mesh, c.duration_us AS duration_us, c.bytes_sent AS bytes_sent, c.bytes_received AS bytes_received,
            c.source AS source,
            c.destination_workload != '' OR c.destination_service != '' OR c.destination_principal != '' AS named,
            multiIf(
                named,
                    (toString(c.destination_cluster), toString(c.destination_namespace), toString(c.destination_workload),
                        toString(c.destination_service), toString(c.destination_version), toString(c.destination_principal)),
                a.name != '' AND c.ts < a.valid_to,
                    (toString(a.cluster), toString(a.namespace), toString(a.workload), toString(a.service), toString(a.version), ''),
                (l.names.3 != '' OR l.names.4 != ''), l.names,
                c.destination_ip != toIPv6('::'), ('', '', '', replaceOne(IPv6NumToString(c.destination_ip), '::ffff:', ''), '', ''),
                ('', '', '', '', '', '')) AS destination,
            c.destination_service = '' AND destination.4 != '' AND destination.2 = '' AND destination.3 = ''
                AND l.names.4 = '' AND (isIPv4String(destination.4) OR isIPv6String(destination.4)) AS outside
        FROM caller AS c
        ASOF LEFT JOIN named_addresses AS a ON c.destination_ip = a.ip AND c.ts >= a.valid_from
        LEFT JOIN spoken_for AS l ON c.destination_ip = l.ip
    ),
    keyed AS (
        SELECT
            if(mesh IN ('calico', 'cilium'), 'flow', 'log') AS evidence, reporter,
            multiIf(
                outside AND reporter != 'destination', 'egress',
                direction = '' OR (direction = 'egress' AND NOT named), 'east_west',
                toString(direction)) AS direction,
            protocol, tls,
            source.1 AS source_cluster, source.2 AS source_namespace, source.3 AS source_workload,
            source.4 AS source_service, source.5 AS source_version, source.6 AS source_principal,
            destination.1 AS destination_cluster, destination.2 AS destination_namespace,
            destination.3 AS destination_workload, destination.4 AS destination_service,
            destination.5 AS destination_version, destination.6 AS destination_principal,
            operation,
            toStartOfMinute(ts) AS minute, ts, status, grpc_status, response_flags, verdict, fault, logged,
            weight, duration_us, bytes_sent, bytes_received
        FROM both
    )
SELECT
    'address' AS kind,
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
    sum(weight) AS requests,
    sumIf(weight, status >= 500 OR grpc_status IN (2, 4, 13, 14, 15)
        OR (status = 0 AND (response_flags NOT IN ('', '-', 'DC') OR fault = 'network'))) AS errors,
    sumIf(weight, verdict = 'denied') AS denied,
    sumIf(weight, bitTest(logged, 34)) AS timed,
    countIf(bitTest(logged, 37)) AS sized,
    sum(bytes_sent) AS bytes_sent,
    sum(bytes_received) AS bytes_received,
    sumIf(weight * (log(greatest(duration_us, 1)) AS log_us), bitTest(logged, 34)) AS log_us_sum,
    sumIf(weight * log_us * log_us, bitTest(logged, 34)) AS log_us_sum2,
    sumMapIf(map(status, toUInt64(weight)), weight > 0 AND bitTest(logged, 29) AND protocol != 'tcp') AS statuses,
    sumMapIf(map(grpc_status, toUInt64(weight)), weight > 0 AND bitTest(logged, 30) AND (grpc_status > 0 OR protocol = 'grpc')) AS grpc_statuses,
    sumMapIf(map(toString(fault), toUInt64(weight)), weight > 0 AND fault NOT IN ('', 'none')) AS faults,
    sumMapIf(map(CAST(if(duration_us = 0, -1, ceil(log(duration_us) / 0.020000666706669542)), 'Int16'), toUInt64(weight)), weight > 0 AND bitTest(logged, 34)) AS histogram,
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
