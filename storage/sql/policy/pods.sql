-- The pods that policies select by their labels, each with its workload, service and account.
-- In: since, until (of the calls that are judged), row_limit (rows).
-- Out: cluster, namespace, name, workload, service, service_account, labels, annotations, ports (NAME/NUMBER/PROTOCOL/TARGET),
-- addresses, has_sidecar, alive (1 = at some time between since and until); by namespace, workload and name.
SELECT
    i.cluster AS cluster,
    i.namespace AS namespace,
    i.name AS name,
    a.workload AS workload,
    a.service AS service,
    i.service_account AS service_account,
    i.labels AS labels,
    i.annotations AS annotations,
    i.ports AS ports,
    i.addresses AS addresses,
    i.has_sidecar AS has_sidecar,
    toUInt8(i.valid_from < {until:DateTime64(6)} AND i.valid_to > {since:DateTime64(6)}) AS alive
FROM (
    SELECT cluster, namespace, name, service_account, labels, annotations, ports, addresses, has_sidecar, valid_from, valid_to
    FROM inventory FINAL
    WHERE kind = 'Pod'
) AS i
INNER JOIN (
    SELECT DISTINCT cluster, name_namespace, name, workload, service
    FROM aliases FINAL
    WHERE kind = 'pod'
) AS a ON i.cluster = a.cluster AND i.namespace = a.name_namespace AND i.name = a.name
ORDER BY namespace, workload, name
LIMIT {row_limit:UInt64}
