-- Every alias as last loaded: which name is which namespace, workload and service, and when.
-- Inputs: row_limit (rows). Output: the columns of the table, the latest load of each name and start only.
SELECT
    kind, cluster, name_namespace, name, valid_from, valid_to,
    namespace, workload, service, service_account, pod, version, is_gateway, evidence
FROM aliases FINAL
ORDER BY kind, name, valid_from
LIMIT {row_limit:UInt64}
