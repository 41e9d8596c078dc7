-- What a principal called, and who called it, within a time range.
-- Inputs: principal (whole, as in the certificate), since, until (UTC, [since, until)), row_limit (rows).
-- Output: what a list shows of each call, oldest first (whole rows by request id).
-- Index: the primary key. edge_keys gives the edges of the principal; calls that no view counts have edge id 0. Keys hold a space where
-- a name has the separator 0x1F (collector/edge_ids.py).
SELECT
    ts, reporter, source_namespace, source_workload, source_service, source_principal, source_ip, destination_namespace,
    destination_workload, destination_service, destination_principal, destination_ip, protocol, method, path, operation, status,
    grpc_status, response_flags, duration_us, tls, verdict, denied_by, fault, request_id, trace_id
FROM calls
WHERE base_edge_id IN (
        SELECT edge_id
        FROM edge_keys
        WHERE operation = ''
            AND (source_principal = replaceAll({principal:String}, '\x1f', ' ')
                OR destination_principal = replaceAll({principal:String}, '\x1f', ' '))
        UNION ALL
        SELECT toUInt64(0)
    )
    AND (source_principal = {principal:String} OR destination_principal = {principal:String})
    AND ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
ORDER BY ts
LIMIT {row_limit:UInt32}
