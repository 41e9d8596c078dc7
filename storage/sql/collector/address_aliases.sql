-- Which address belonged to what, and when: the address book that completes callers known only by their address.
-- In: limit (rows). Out: the columns of aliases, the latest load of each name and start of validity.
SELECT
    kind, cluster, name_namespace, name, valid_from,
    argMax(valid_to, loaded_at)        AS valid_to,
    argMax(a.namespace, loaded_at)     AS namespace,
    argMax(a.workload, loaded_at)      AS workload,
    argMax(a.service, loaded_at)       AS service,
    argMax(a.service_account, loaded_at) AS service_account,
    argMax(a.pod, loaded_at)           AS pod,
    argMax(a.version, loaded_at)       AS version,
    argMax(a.is_gateway, loaded_at)    AS is_gateway,
    evidence,
    max(loaded_at)                     AS loaded_at
FROM aliases AS a
GROUP BY kind, cluster, name_namespace, name, valid_from, evidence
ORDER BY kind, cluster, name_namespace, name, valid_from, evidence
LIMIT {limit:UInt32}
