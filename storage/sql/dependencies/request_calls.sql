-- Lines of one request or trace, as its proxies (and the network) told of it.
-- Inputs: ids (request or trace ids), row_limit (rows). Output: one row per line, oldest first; the sides as edge_endpoints
-- names them (all parts empty for calls that are known by address only, whose own names follow).
WITH
    found AS (
        SELECT * FROM calls
        WHERE request_id IN {ids:Array(String)} AND log_type IN ('', 'request', 'connection_end')
        UNION ALL
        SELECT * FROM calls
        WHERE trace_id IN {ids:Array(String)} AND request_id NOT IN {ids:Array(String)}
            AND log_type IN ('', 'request', 'connection_end')
    )
SELECT
    c.ts AS ts, c.reporter AS reporter, c.mesh AS mesh, c.direction AS direction, c.protocol AS protocol,
    c.method AS method, c.path AS path, c.operation AS operation,
    c.status AS status, c.grpc_status AS grpc_status, c.response_flags AS response_flags,
    c.response_details AS response_details, c.termination_details AS termination_details,
    c.duration_us AS duration_us, c.attempt AS attempt, c.verdict AS verdict, c.denied_by AS denied_by, c.fault AS fault,
    c.tls AS tls, c.source_principal AS source_principal, c.source_pod AS source_pod, c.destination_pod AS destination_pod,
    bitTest(c.logged, 29) AS has_status, bitTest(c.logged, 30) AS has_grpc_status, bitTest(c.logged, 34) AS has_duration,
    c.request_id AS request_id, c.trace_id AS trace_id,
    e.source_side AS source_side, e.destination_side AS destination_side,
    c.source_cluster AS source_cluster, c.source_namespace AS source_namespace, c.source_workload AS source_workload,
    c.source_service AS source_service, c.source_ip AS source_ip,
    c.destination_cluster AS destination_cluster, c.destination_namespace AS destination_namespace,
    c.destination_workload AS destination_workload, c.destination_service AS destination_service,
    c.destination_ip AS destination_ip
FROM found AS c
LEFT JOIN (
    SELECT edge_id, source_side, destination_side
    FROM edge_endpoints
    WHERE edge_id IN (SELECT edge_id FROM found)
) AS e ON c.edge_id = e.edge_id
ORDER BY ts, reporter DESC
LIMIT {row_limit:UInt64}
