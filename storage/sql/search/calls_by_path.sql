-- Calls to a service whose path begins with a text, within a time range.
-- Inputs: namespace, service (as the lines call the destination; namespace empty = outside), path (its beginning; the whole path
-- with its query finds exactly that), since, until (UTC, [since, until)), row_limit (rows).
-- Output: what a list shows of each call, oldest first (whole rows by request id).
-- Index: the primary key, by the edges into the service, as in calls_by_principal; paths are read within these.
SELECT
    ts, reporter, source_namespace, source_workload, source_service, source_principal, source_ip, destination_namespace,
    destination_workload, destination_service, destination_principal, destination_ip, protocol, method, path, operation, status,
    grpc_status, response_flags, duration_us, tls, verdict, denied_by, fault, request_id, trace_id
FROM calls
WHERE base_edge_id IN (
        SELECT edge_id
        FROM edge_keys
        WHERE operation = ''
            AND destination_namespace = replaceAll({namespace:String}, '\x1f', ' ')
            AND destination_service = replaceAll({service:String}, '\x1f', ' ')
        UNION ALL
        SELECT toUInt64(0)
    )
    AND destination_namespace = {namespace:String} AND destination_service = {service:String}
    AND startsWith(path, {path:String})
    AND ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
ORDER BY ts
LIMIT {row_limit:UInt32}
