-- Where the calls of a window arrived, and whose proxy says so: each place is judged by policies of its own.
-- Lines of one base edge are of one place; those of base edge 0 (known only by address) are told apart by the other columns.
-- In: since, until, counted (log types that are calls), flags_bit and end_bit (of response_flags and termination_details in
-- `logged`: Envoy logs both of a connection, ztunnel the second one only).
-- Out: base_edge_id, mesh, reporter, tcp (1 = a connection), ztunnel (1 = its line), the ends' cluster, namespace, workload and service, and calls.
SELECT
    base_edge_id,
    mesh,
    reporter,
    toUInt8(protocol IN ('tcp', 'tls')) AS tcp,
    toUInt8(
        mesh = 'istio' AND protocol = 'tcp' AND NOT bitTest(logged, {flags_bit:UInt8}) AND bitTest(logged, {end_bit:UInt8})
    ) AS ztunnel,
    source_namespace,
    source_workload,
    source_service,
    destination_cluster,
    destination_namespace,
    destination_workload,
    destination_service,
    sum(weight) AS calls
FROM calls
WHERE ts >= {since:DateTime64(6)} AND ts < {until:DateTime64(6)} AND log_type IN {counted:Array(String)} AND weight > 0
GROUP BY ALL
