-- Which address belonged to what, and when: the address book that completes callers known only by their address.
-- In: limit (rows). Out: the columns of aliases, the latest load of each name and start of validity.
SELECT
    a.kind, a.cluster, a.name_namespace, a.name, a.valid_from,
    argMax(a.valid_to, a.loaded_at)        AS valid_to,
    argMax(a.namespace, a.loaded_at)       AS namespace,
    argMax(a.workload, a.loaded_at)        AS workload,
    argMax(a.service, a.loaded_at)         AS service,
    argMax(a.service_account, a.loaded_at) AS service_account,
    argMax(a.pod, a.loaded_at)             AS pod,
    argMax(a.version, a.loaded_at)         AS version,
    argMax(a.is_gateway, a.loaded_at)      AS is_gateway,
    a.evidence,
    max(a.loaded_at)                       AS loaded_at
FROM aliases AS a
GROUP BY a.kind, a.cluster, a.name_namespace, a.name, a.valid_from, a.evidence
ORDER BY a.kind, a.cluster, a.name_namespace, a.name, a.valid_from, a.evidence
LIMIT {limit:UInt32}
