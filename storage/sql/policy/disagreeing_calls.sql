-- The calls of a finding: those of which the policies say other than the proxy did, by when they began and their request id.
-- A finding names so many of them as its evidence lists, the earliest; neighbours that the policies judge otherwise are left out.
-- In: since, until, edges (base edges), principal, did (allowed or denied), moments (begin of each call, microseconds since 1970)
-- and ids (its request id, or empty) in the same order, row_limit (rows).
-- Out: ts, request_id, trace_id, source and destination workload, method, path, status, tls, verdict; by time.
SELECT
    ts, request_id, trace_id, source_workload, source_principal, destination_namespace, destination_workload, destination_pod,
    method, path, status, tls, verdict, denied_by
FROM calls
WHERE
    ts >= {since:DateTime64(6)} AND ts < {until:DateTime64(6)} AND has({edges:Array(UInt64)}, base_edge_id)
    AND source_principal = {principal:String} AND verdict = {did:String}
    AND (toUnixTimestamp64Micro(ts), request_id) IN (SELECT arrayJoin(arrayZip({moments:Array(Int64)}, {ids:Array(String)})))
ORDER BY ts
LIMIT {row_limit:UInt64}
