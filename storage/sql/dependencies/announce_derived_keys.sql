-- Edge keys of one generation of derived edges, with and without the operation, so that the map can name them.
-- Inputs: generation. Output: rows of edge_keys.
INSERT INTO edge_keys
    (edge_id, evidence, reporter, direction, protocol, tls, source_cluster, source_namespace, source_workload, source_service, source_version, source_principal, destination_cluster, destination_namespace, destination_workload, destination_service, destination_version, destination_principal, operation, received_on)
SELECT DISTINCT
    id.1, evidence, reporter, direction, protocol, tls, source_cluster, source_namespace, source_workload, source_service, source_version, source_principal, destination_cluster, destination_namespace, destination_workload, destination_service, destination_version, destination_principal, id.2, derived_on
FROM derived_edges_1m
ARRAY JOIN [(edge_id, toString(operation)), (base_edge_id, '')] AS id
WHERE generation = {generation:UInt64}
