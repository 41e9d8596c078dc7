-- The lines that tell of one caller's refused calls: what a finding over repeated_denials.sql rests on, to be looked at again.
-- In: source_ends (hashes of what lines call the caller, as repeated_denials.sql lists them), principal, address (empty = any), since,
-- until (UTC), row_limit (rows).
-- Out: what a list shows of each line, oldest first; where both sides tell of a call, both lines.
WITH addressed AS (SELECT toIPv6OrZero(name) AS ip FROM aliases FINAL WHERE kind IN ('pod_ip', 'service_ip'))
SELECT
    ts, reporter, mesh, log_type, weight, source_namespace, source_workload, source_service, source_principal, source_ip,
    source_remote_ip, destination_namespace, destination_workload, destination_service, destination_ip, destination_port, operation,
    path, status, denied_by, response_details, termination_details, request_id, trace_id
FROM calls
WHERE ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
    AND (log_type IN ('', 'request', 'connection_end', 'upstream_end', 'gateway_request')
        OR (log_type = 'audit' AND mesh = 'linkerd'))
    AND verdict = 'denied' AND weight > 0
    AND source_principal = {principal:String}
    AND ({address:String} = '' OR {address:String} = replaceOne(IPv6NumToString(
        if(source_remote_ip = toIPv6('::') OR reporter != 'gateway', source_ip, source_remote_ip)), '::ffff:', ''))
    AND cityHash64((
        'source', toString(source_cluster), toString(source_namespace), toString(source_workload),
        toString(source_service), toString(source_principal),
        if(source_workload = '' AND source_service = '' AND source_principal = '' AND source_ip IN addressed,
            replaceOne(IPv6NumToString(source_ip), '::ffff:', ''), ''),
        if(source_workload = '' AND source_service = '' AND source_principal = '' AND reporter = 'gateway', toString(mesh), ''), ''
    )) IN {source_ends:Array(UInt64)}
ORDER BY ts, reporter
LIMIT {row_limit:UInt64}
