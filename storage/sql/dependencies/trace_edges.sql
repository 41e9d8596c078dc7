-- Trace edges of the minutes [since, until): one row per minute and edge key, from spans and their partners.
--
-- A client or producer span is a request its service reports as the source; its destination is the service of its child
-- (or of the server span that shares its id), else the side its attributes name. A span whose parent is of another
-- service is a request its service reports as the destination, whatever the two kinds are. A span whose child or parent
-- is of the same service only continues it there, except that client and server of one service are a call to itself.
-- An id that client and server share (Zipkin) has two halves, and its children are the server half's, whatever their
-- service is, except those of the client's service that serve nobody: these go on in the client. A shared server span
-- whose client half is missing stands below its own parent. Halves of several services under one id: nobody knows whose.
-- A server span without a parent in reach joins the caller its attributes name; a root has none.
-- A missing side known by service name is a bare service, by host a host outside (direction egress).
-- A client span without a status has that of its callee, of the attempts that ended as the request did (the lowest one).
-- Partners are looked for horizon_s seconds before and after.
--
-- Spans are joined as numbers (hashes of ids, of who they belong to, of operation and protocol); names come back at the
-- end, once per edge: joining names would move many times the bytes. `near` is selected once where the engine can keep
-- it (storage/materialize.py): it reads the trace ids of the whole horizon. Of what lies around [since, until) only the traces
-- that lie in it too are joined, so a step takes the memory of its own spans however many others there are. Of more than
-- 10 000 spans under one the others are left out.
--
-- Inputs: since, until (UTC seconds, whole minutes), horizon_s (seconds), generation (number of this derivation),
-- derived_on (its day). Output: rows of derived_edges_1m.
INSERT INTO derived_edges_1m (
    kind, minute, edge_id, base_edge_id, derived_on, generation, evidence, reporter, direction, protocol, tls,
    source_cluster, source_namespace, source_workload, source_service, source_version, source_principal,
    destination_cluster, destination_namespace, destination_workload, destination_service, destination_version,
    destination_principal, operation, requests, errors, denied, timed, sized, bytes_sent, bytes_received, log_us_sum,
    log_us_sum2, statuses, grpc_statuses, faults, histogram, first_ts, last_ts
)
WITH
    (
        SELECT max(shared) FROM spans
        WHERE ts >= {since:DateTime64(0, 'UTC')} - toIntervalSecond({horizon_s:UInt32})
            AND ts < {until:DateTime64(0, 'UTC')} + toIntervalSecond({horizon_s:UInt32})
    ) AS any_shared,
    near AS (
        SELECT
            cityHash64(trace_id, span_id) AS id, if(parent_span_id = '', 0, cityHash64(trace_id, parent_span_id)) AS parent,
            shared, ts, kind IN ('client', 'producer') AS calls, kind IN ('server', 'consumer') AS serves,
            if(service = '', 0, cityHash64(cluster, namespace, workload, service, version)) AS who,
            cityHash64(namespace, service) AS service_id,
            if(peer_service = '' AND peer_host = '', 0,
                cityHash64('peer', peer_namespace, peer_service, if(peer_service = '', peer_host, ''))) AS peer,
            peer_service != '' AS peer_named,
            if(operation = '' AND protocol = '', 0, cityHash64(operation, protocol)) AS op, protocol = 'grpc' AS grpc,
            error, duration_us, http_status, grpc_status,
            cluster, namespace, workload, service, version, operation, protocol
        FROM spans
        WHERE ts >= {since:DateTime64(0, 'UTC')} - toIntervalSecond({horizon_s:UInt32})
            AND ts < {until:DateTime64(0, 'UTC')} + toIntervalSecond({horizon_s:UInt32})
            AND trace_id != ''
            AND ((ts >= {since:DateTime64(0, 'UTC')} AND ts < {until:DateTime64(0, 'UTC')})
                OR cityHash64(trace_id) IN (
                    SELECT cityHash64(trace_id) FROM spans
                    WHERE ts >= {since:DateTime64(0, 'UTC')} AND ts < {until:DateTime64(0, 'UTC')}))
    ),
    own AS (
        SELECT * FROM near WHERE ts >= {since:DateTime64(0, 'UTC')} AND ts < {until:DateTime64(0, 'UTC')}
    ),
    children AS (
        SELECT
            if(shared = 1, id, parent) AS id,
            groupArray(10000)(service_id) AS service_ids, groupArray(10000)(who) AS whos, groupArray(10000)(op) AS ops,
            groupArray(10000)(bitOr(
                toUInt32((error != 0) + 2 * calls + 4 * serves + 8 * (shared = 1) + 16 * grpc),
                bitOr(bitShiftLeft(toUInt32(http_status), 16), bitShiftLeft(toUInt32(grpc_status), 8)))) AS bits
        FROM near
        WHERE parent != 0 OR shared = 1
        GROUP BY id
    ),
    sent AS (
        SELECT
            x.ts AS ts, x.duration_us AS duration_us, x.http_status AS own_status, x.grpc_status AS own_grpc_status,
            x.grpc AS own_grpc, x.who AS source, x.error AS error, x.op AS own_op,
            -- As (service_id, who, op, bits).
            arrayZip(c.service_ids, c.whos, c.ops, c.bits) AS below,
            arrayFilter(k -> bitTest(k.4, 3), below) AS halves,
            if(any_shared = 1 AND notEmpty(halves), halves, below) AS found,
            arrayFilter(k -> k.1 != x.service_id AND k.2 != 0, found) AS others,
            arrayFilter(k -> k.1 = x.service_id, found) AS same,
            -- Destinations as (service_id, peer): one of both is 0.
            multiIf(
                notEmpty(others), arrayMap(s -> (s, toUInt64(0)), arrayDistinct(arrayMap(k -> k.1, others))),
                arrayExists(k -> bitTest(k.4, 1), same), [],
                arrayExists(k -> bitTest(k.4, 2), same), [(x.service_id, toUInt64(0))],
                x.peer != 0, [(toUInt64(0), x.peer)],
                []) AS destinations
        FROM (SELECT * FROM own WHERE calls AND shared = 0) AS x
        LEFT JOIN children AS c ON x.id = c.id
    ),
    received AS (
        SELECT
            x.ts AS ts, x.duration_us AS duration_us, x.http_status AS http_status, x.grpc_status AS grpc_status,
            x.grpc AS grpc, x.who AS destination, x.error AS error, x.op AS op,
            -- The span that it stands below: its client half, else its parent's one half or the other.
            x.shared = 1 AND p.id != 0 AS halved,
            x.shared = 1 AND p.id = 0 AS lost,
            if(lost, q.id, p.id) AS above,
            if(lost, q.service_id, p.service_id) AS above_service,
            if(lost, q.who, p.who) AS above_who,
            if(lost, q.calls, p.calls) AS above_calls,
            multiIf(
                halved OR empty(h.services) OR (above != 0 AND above_service = x.service_id AND NOT x.serves),
                multiIf(
                    above = 0, if(x.serves AND x.peer_named, x.peer, 0),
                    above_service != x.service_id OR (above_calls AND x.serves), above_who,
                    0),
                has(h.services, x.service_id) OR length(h.services) > 1, 0,
                h.who) AS source
        FROM own AS x
        ANY LEFT JOIN (SELECT id, calls, who, service_id FROM near WHERE shared = 0) AS p
            ON if(x.shared = 1, x.id, x.parent) = p.id
        ANY LEFT JOIN (
            SELECT id, calls, who, service_id FROM near
            WHERE any_shared = 1 AND shared = 0 AND id IN (SELECT parent FROM own WHERE shared = 1 AND parent != 0)
        ) AS q ON x.parent = q.id
        ANY LEFT JOIN (
            SELECT id, groupUniqArray(256)(service_id) AS services, min(who) AS who
            FROM near WHERE any_shared = 1 AND shared = 1 GROUP BY id
        ) AS h ON x.parent = h.id
    ),
    requests AS (
        SELECT
            'source' AS reporter, ts, duration_us,
            if(own_status != 0, own_status, arrayMin(arrayFilter(s -> s != 0, arrayMap(k -> toUInt16(bitShiftRight(k.4, 16)), alike)))) AS http_status,
            if(own_grpc_status != 0, own_grpc_status, arrayMin(arrayMap(k -> toUInt8(bitAnd(bitShiftRight(k.4, 8), 255)), alike))) AS grpc_status,
            own_grpc OR arrayExists(k -> bitTest(k.4, 4), alike) AS grpc, source,
            arrayFilter(k -> k.1 = far.1, found) AS there,
            arrayFilter(k -> bitTest(k.4, 0) = failed, there) AS alike,
            if(far.2 != 0, far.2, arrayMin(k -> k.2, there)) AS destination,
            error = 1 OR (notEmpty(there) AND arrayAll(k -> bitTest(k.4, 0) = 1, there)) AS failed,
            arrayMin(k -> k.3, there) AS their_op,
            if(their_op != 0, their_op, own_op) AS op
        FROM sent
        ARRAY JOIN destinations AS far
        WHERE source != 0
        UNION ALL
        SELECT
            'destination' AS reporter, ts, duration_us, http_status, grpc_status, grpc, source,
            [] AS there, [] AS alike, destination, error = 1 AS failed, 0 AS their_op, op
        FROM received
        WHERE source != 0 AND destination != 0
    ),
    summed AS (
        SELECT
            reporter, toStartOfMinute(ts) AS minute, source, destination, op,
            count() AS requests, countIf(failed) AS errors,
            sum(log(greatest(duration_us, 1)) AS log_us) AS log_us_sum, sum(log_us * log_us) AS log_us_sum2,
            groupArrayIf(http_status, http_status != 0) AS all_statuses,
            groupArrayIf(grpc_status, grpc) AS all_grpc,
            groupArray(CAST(if(duration_us = 0, -1, ceil(log(duration_us) / 0.020000666706669542)), 'Int16')) AS all_buckets,
            min(ts) AS first_ts, max(ts) AS last_ts
        FROM requests
        GROUP BY reporter, minute, source, destination, op
    ),
    names AS (
        SELECT who AS id, any((toString(cluster), toString(namespace), toString(workload), toString(service), toString(version), 0)) AS name
        FROM near
        GROUP BY who
        UNION ALL
        SELECT peer AS id, any(('', toString(peer_namespace), '', toString(if(peer_service = '', peer_host, peer_service)), '', peer_service = '')) AS name
        FROM (
            SELECT peer_namespace, peer_service, peer_host,
                cityHash64('peer', peer_namespace, peer_service, if(peer_service = '', peer_host, '')) AS peer
            FROM spans
            WHERE ts >= {since:DateTime64(0, 'UTC')} AND ts < {until:DateTime64(0, 'UTC')}
                AND (peer_service != '' OR peer_host != '')
        )
        GROUP BY peer
    ),
    operations AS (
        SELECT op AS id, any((toString(operation), toString(protocol))) AS name
        FROM near
        GROUP BY id
    ),
    keyed AS (
        SELECT
            'trace' AS evidence, s.reporter AS reporter,
            if(d.name.6 = 1, 'egress', 'east_west') AS direction,
            o.name.2 AS protocol, 'unknown' AS tls,
            f.name.1 AS source_cluster, f.name.2 AS source_namespace, f.name.3 AS source_workload,
            f.name.4 AS source_service, f.name.5 AS source_version, '' AS source_principal,
            d.name.1 AS destination_cluster, if(d.name.6 = 1, '', d.name.2) AS destination_namespace,
            d.name.3 AS destination_workload, d.name.4 AS destination_service, d.name.5 AS destination_version,
            '' AS destination_principal, o.name.1 AS operation,
            s.minute AS minute, s.requests AS requests, s.errors AS errors,
            s.log_us_sum AS log_us_sum, s.log_us_sum2 AS log_us_sum2,
            s.all_statuses AS all_statuses, s.all_grpc AS all_grpc, s.all_buckets AS all_buckets,
            s.first_ts AS first_ts, s.last_ts AS last_ts
        FROM summed AS s
        INNER JOIN names AS f ON s.source = f.id
        INNER JOIN names AS d ON s.destination = d.id
        LEFT JOIN operations AS o ON s.op = o.id
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
    requests,
    errors,
    0 AS denied,
    requests AS timed,
    0 AS sized,
    0 AS bytes_sent,
    0 AS bytes_received,
    log_us_sum,
    log_us_sum2,
    mapFromArrays(arrayDistinct(all_statuses), arrayMap(x -> countEqual(all_statuses, x), arrayDistinct(all_statuses))) AS statuses,
    mapFromArrays(arrayDistinct(all_grpc), arrayMap(x -> countEqual(all_grpc, x), arrayDistinct(all_grpc))) AS grpc_statuses,
    CAST(map(), 'Map(String, UInt64)') AS faults,
    mapFromArrays(arrayDistinct(all_buckets), arrayMap(x -> countEqual(all_buckets, x), arrayDistinct(all_buckets))) AS histogram,
    first_ts,
    last_ts
FROM keyed
