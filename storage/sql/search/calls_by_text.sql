-- Calls whose original line holds a text: a scan of what is kept of the lines in a time range, given up after 30 s.
-- Inputs: text (bytes as they stand in the line), since, until (UTC, [since, until)), row_limit (rows).
-- Output: what a list shows of each call, oldest first (whole rows by request id). An error where the time was not enough: narrow the range.
-- Index: ts_range alone, which helps as far as time and edge go together; no index holds the words of lines (ADR 008).
SELECT
    ts, reporter, source_namespace, source_workload, source_service, source_principal, source_ip, destination_namespace,
    destination_workload, destination_service, destination_principal, destination_ip, protocol, method, path, operation, status,
    grpc_status, response_flags, duration_us, tls, verdict, denied_by, fault, request_id, trace_id
FROM calls
WHERE position(raw, {text:String}) > 0
    AND ts >= {since:DateTime64(6, 'UTC')} AND ts < {until:DateTime64(6, 'UTC')}
ORDER BY ts
LIMIT {row_limit:UInt32}
SETTINGS max_execution_time = 30
