-- Calls of one caller at one destination whose proxies did other than the policies say: the evidence of such findings.
-- In: since, until, edges (base edges), principal, operations, did (allowed or denied), row_limit (rows).
-- Out: ts, request_id, trace_id, source and destination workload, method, path, status, tls, verdict; by time.
SELECT
    ts, request_id, trace_id, source_workload, source_principal, destination_namespace, destination_workload, destination_pod,
    method, path, status, tls, verdict, denied_by
FROM calls
WHERE
    ts >= {since:DateTime64(6)} AND ts <= {until:DateTime64(6)} AND has({edges:Array(UInt64)}, base_edge_id)
    AND source_principal = {principal:String} AND has({operations:Array(String)}, operation) AND verdict = {did:String}
ORDER BY ts
LIMIT {row_limit:UInt64}
