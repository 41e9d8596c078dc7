-- Trace edges of the minutes [since, until): one row per minute and edge key, from spans and their partners.
--
-- A client or producer span is a request its service reports as the source; its destination is the service of its child
-- (or of the server span that shares its id), else the side its attributes name. A span whose parent is of another
-- service is a request its service reports as the destination, whatever the two kinds are. A span whose child or parent
-- is of the same service only continues it there, except that client and server of one service are a call to itself.
-- A server span without a parent in reach joins the caller its attributes name; a root has none.
-- A missing side known by service name is a bare service, by host a host outside (direction egress).
-- Partners are looked for horizon_s seconds before and after. Joins are on a 64-bit hash of the trace id and the span id.
--
-- Inputs: since, until (UTC seconds, whole minutes), horizon_s (seconds), generation (number of this derivation),
-- derived_on (its day). Output: rows of derived_edges_1m.
INSERT INTO derived_edges_1m
    (kind, minute, edge_id, base_edge_id, derived_on, generation, evidence, reporter, direction, protocol, tls, source_cluster, source_namespace, source_workload, source_service, source_version, source_principal, destination_cluster, destination_namespace, destination_workload, destination_service, destination_version, destination_principal, operation, requests, errors, denied, timed, sized, bytes_sent, bytes_received, log_us_sum, log_us_sum2, statuses, grpc_statuses, faults, histogram, first_ts, last_ts)
WITH
    near AS (
        SELECT
            cityHash64(trace_id) AS trace, span_id, parent_span_id, shared, ts, kind,
            cluster, namespace, workload, service, version,
            error, duration_us, protocol, operation, http_status, grpc_status,
            peer_service, peer_namespace, peer_host
        FROM spans
        WHERE ts >= {since:DateTime64(0, 'UTC')} - toIntervalSecond({horizon_s:UInt32})
            AND ts < {until:DateTime64(0, 'UTC')} + toIntervalSecond({horizon_s:UInt32})
            AND trace_id != ''
    ),
    own AS (
        SELECT * FROM near WHERE ts >= {since:DateTime64(0, 'UTC')} AND ts < {until:DateTime64(0, 'UTC')}
    ),
    -- Children of each span id: who they belong to, whether all of one service failed, and what they call themselves.
    children AS (
        SELECT
            trace, parent AS span_id,
            groupArray(64)(tuple(cluster, namespace, workload, service, version, failed, kinds, operation, protocol)) AS found
        FROM (
            SELECT
                trace, if(shared = 1, span_id, parent_span_id) AS parent,
                cluster, namespace, workload, service, version,
                min(error) AS failed, groupUniqArray(kind) AS kinds,
                any(operation) AS operation, any(protocol) AS protocol
            FROM near
            WHERE parent_span_id != '' OR shared = 1
            GROUP BY trace, parent, cluster, namespace, workload, service, version
        )
        GROUP BY trace, span_id
    ),
    parents AS (
        SELECT trace, span_id, kind, cluster, namespace, workload, service, version
        FROM near
        WHERE shared = 0
        ORDER BY ts
        LIMIT 1 BY trace, span_id
    ),
    sent AS (
        SELECT
            'source' AS reporter,
            x.ts AS ts, x.duration_us AS duration_us, x.http_status AS http_status, x.grpc_status AS grpc_status,
            (x.cluster, x.namespace, x.workload, x.service, x.version) AS near_side,
            arrayFilter(c -> (c.2, c.4) != (x.namespace, x.service) AND c.4 != '', c.found) AS others,
            arrayFilter(c -> (c.2, c.4) = (x.namespace, x.service), c.found) AS same,
            multiIf(
                notEmpty(others), arrayMap(c -> (c.1, c.2, c.3, c.4, c.5, c.6, c.8, c.9, 0), others),
                arrayExists(c -> hasAny(c.7, ['client', 'producer']), same), [],
                arrayExists(c -> hasAny(c.7, ['server', 'consumer']), same),
                    arrayMap(c -> (c.1, c.2, c.3, c.4, c.5, c.6, c.8, c.9, 0),
                        arraySlice(arrayFilter(c -> hasAny(c.7, ['server', 'consumer']), same), 1, 1)),
                x.peer_service != '', [('', x.peer_namespace, '', x.peer_service, '', 0, x.operation, x.protocol, 0)],
                x.peer_host != '', [('', '', '', x.peer_host, '', 0, x.operation, x.protocol, 1)],
                []) AS far_sides,
            x.error AS error, x.operation AS own_operation, x.protocol AS own_protocol
        FROM (SELECT * FROM own WHERE kind IN ('client', 'producer') AND shared = 0) AS x
        LEFT JOIN children AS c ON x.trace = c.trace AND x.span_id = c.span_id
    ),
    received AS (
        SELECT
            'destination' AS reporter,
            x.ts AS ts, x.duration_us AS duration_us, x.http_status AS http_status, x.grpc_status AS grpc_status,
            (x.cluster, x.namespace, x.workload, x.service, x.version) AS near_side,
            p.span_id != '' AS has_parent,
            multiIf(
                has_parent AND p.service != '' AND (p.namespace, p.service) != (x.namespace, x.service),
                    [(p.cluster, p.namespace, p.workload, p.service, p.version)],
                has_parent AND p.kind IN ('client', 'producer') AND x.kind IN ('server', 'consumer') AND p.service != '',
                    [(p.cluster, p.namespace, p.workload, p.service, p.version)],
                has_parent, [],
                x.kind IN ('server', 'consumer') AND x.peer_service != '',
                    [('', x.peer_namespace, '', x.peer_service, '')],
                []) AS far_sides,
            x.error AS error, x.operation AS own_operation, x.protocol AS own_protocol
        FROM own AS x
        LEFT JOIN parents AS p
            ON x.trace = p.trace AND if(x.shared = 1, x.span_id, x.parent_span_id) = p.span_id
    ),
    edges AS (
        SELECT
            reporter, ts, duration_us, http_status, grpc_status,
            near_side AS source, (far.1, far.2, far.3, far.4, far.5) AS destination,
            far.9 AS outside,
            error = 1 OR far.6 = 1 AS failed,
            if(far.7 != '', far.7, own_operation) AS operation,
            if(far.8 != '', far.8, own_protocol) AS protocol
        FROM sent
        ARRAY JOIN far_sides AS far
        UNION ALL
        SELECT
            reporter, ts, duration_us, http_status, grpc_status,
            far AS source, near_side AS destination,
            0 AS outside,
            error = 1 AS failed,
            own_operation AS operation,
            own_protocol AS protocol
        FROM received
        ARRAY JOIN far_sides AS far
    ),
    keyed AS (
        SELECT
            'trace' AS evidence, reporter,
            if(outside = 1, 'egress', 'east_west') AS direction,
            protocol, 'unknown' AS tls,
            source.1 AS source_cluster, source.2 AS source_namespace, source.3 AS source_workload,
            source.4 AS source_service, source.5 AS source_version, '' AS source_principal,
            destination.1 AS destination_cluster, destination.2 AS destination_namespace,
            destination.3 AS destination_workload, destination.4 AS destination_service,
            destination.5 AS destination_version, '' AS destination_principal,
            operation,
            toStartOfMinute(ts) AS minute, ts, duration_us, http_status, grpc_status, failed
        FROM edges
        WHERE source.4 != '' AND destination.4 != ''
    )
SELECT
    'trace' AS kind,
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
    count() AS requests,
    countIf(failed) AS errors,
    0 AS denied,
    count() AS timed,
    0 AS sized,
    0 AS bytes_sent,
    0 AS bytes_received,
    sum(log(greatest(duration_us, 1)) AS log_us) AS log_us_sum,
    sum(log_us * log_us) AS log_us_sum2,
    sumMapIf(map(http_status, toUInt64(1)), http_status != 0) AS statuses,
    sumMapIf(map(grpc_status, toUInt64(1)), protocol = 'grpc') AS grpc_statuses,
    CAST(map(), 'Map(String, UInt64)') AS faults,
    sumMap(map(CAST(if(duration_us = 0, -1, ceil(log(duration_us) / 0.020000666706669542)), 'Int16'), toUInt64(1))) AS histogram,
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
