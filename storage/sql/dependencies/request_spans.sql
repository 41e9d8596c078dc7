-- Spans of some traces, or those that name a request's id.
-- Inputs: ids (trace or request ids), row_limit (rows). Output: one row per span, oldest first.
SELECT
    ts, trace_id, span_id, parent_span_id, shared, cluster, namespace, service, workload, name, kind, error, duration_us,
    protocol, method, path, operation, http_status, grpc_status, peer_service, peer_namespace, peer_host, request_id
FROM (
    SELECT * FROM spans WHERE trace_id IN {ids:Array(String)}
    UNION ALL
    SELECT * FROM spans WHERE request_id IN {ids:Array(String)} AND trace_id NOT IN {ids:Array(String)}
)
ORDER BY ts, span_id, kind
LIMIT {row_limit:UInt64}
