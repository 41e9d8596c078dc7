-- What every edge id with an operation stands for, and the base edge whose ends it has: the series that are watched.
-- Connections and flows have no latency of calls: they are left out.
-- Inputs: row_limit (rows). Output: edge_id, base_edge_id, evidence, reporter, operation, destination_version, by edge_id.
SELECT
    edge_id,
    cityHash64(concatWithSeparator(
        '\x1f', toString(evidence), toString(reporter), toString(direction), toString(protocol), toString(tls),
        toString(source_cluster), toString(source_namespace), toString(source_workload), toString(source_service),
        toString(source_version), toString(source_principal),
        toString(destination_cluster), toString(destination_namespace), toString(destination_workload),
        toString(destination_service), toString(destination_version), toString(destination_principal), '')) AS base_edge_id,
    evidence,
    reporter,
    operation,
    destination_version
FROM edge_keys FINAL
WHERE protocol != 'tcp' AND evidence != 'flow'
ORDER BY edge_id
LIMIT {row_limit:UInt64}
