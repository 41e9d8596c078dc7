-- Calls from or to an address, within a time range. The original client behind a gateway (source_remote_ip) is not looked at.
-- Inputs: address (IPv4 or IPv6 text), since, until (UTC, [since, until)), row_limit (rows). Output: as calls_by_principal.
-- Index: by_source_ip and by_destination_ip, each in a part of its own: OR between two columns would use neither on older servers.
SELECT *
FROM (
    SELECT
        ts, reporter, source_namespace, source_workload, source_service, source_principal, source_ip, destination_namespace,
        destination_workload, destination_service, destination_principal, destination_ip, protocol, method, path, operation, status,
        grpc_status, response_flags, duration_us, tls, verdict, denied_by, fault, request_id, trace_id
    FROM calls
    WHERE source_ip = toIPv6({address:String})
        AND ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
    ORDER BY ts
    LIMIT {row_limit:UInt32}
    UNION ALL
    SELECT
        ts, reporter, source_namespace, source_workload, source_service, source_principal, source_ip, destination_namespace,
        destination_workload, destination_service, destination_principal, destination_ip, protocol, method, path, operation, status,
        grpc_status, response_flags, duration_us, tls, verdict, denied_by, fault, request_id, trace_id
    FROM calls
    WHERE destination_ip = toIPv6({address:String}) AND source_ip != toIPv6({address:String})
        AND ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
    ORDER BY ts
    LIMIT {row_limit:UInt32}
)
ORDER BY ts
LIMIT {row_limit:UInt32}
