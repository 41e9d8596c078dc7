-- How calls came, by where they arrived: over mutual TLS, TLS without a caller's certificate, or in plain text.
-- A gateway's line tells of the request that it let in, so it counts where the gateway is. Who shows a name showed a certificate; a line
-- that only looks like plain text does not say how its call came.
-- In: since, until, counted (log types that are calls), tls_bit (of tls in `logged`), row_limit (rows).
-- Out: namespace, callee (service, else workload), by_caller (1 = the caller's own proxy says so), tls, calls.
SELECT
    if(reporter = 'gateway', source_namespace, destination_namespace) AS namespace,
    if(reporter = 'gateway',
        if(source_service != '', source_service, source_workload),
        if(destination_service != '', destination_service, destination_workload)) AS callee,
    toUInt8(reporter = 'source') AS by_caller,
    multiIf(
        calls.tls = 'plaintext' AND bitTest(logged, {tls_bit:UInt8}), 'plaintext',
        source_principal != '', 'mtls',
        calls.tls IN ('mtls', 'tls'), toString(calls.tls),
        'unknown') AS tls,
    sum(weight) AS calls
FROM calls
WHERE ts >= {since:DateTime64(6)} AND ts < {until:DateTime64(6)} AND log_type IN {counted:Array(String)} AND weight > 0
GROUP BY ALL
ORDER BY namespace, callee, by_caller, tls
LIMIT {row_limit:UInt64}
