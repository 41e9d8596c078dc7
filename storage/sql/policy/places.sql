-- Where the calls of a window arrived, and whose proxy says so: each place is judged by policies of its own.
-- Lines of one base edge are of one place; those of base edge 0 (known only by address) are told apart by the other columns.
-- In: since, until, counted (log types that are calls).
-- Out: base_edge_id, mesh, reporter, tcp (1 = a connection), the ends' cluster, namespace, workload and service, and calls.
SELECT
    base_edge_id,
    mesh,
    reporter,
    toUInt8(protocol IN ('tcp', 'tls')) AS tcp,
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
