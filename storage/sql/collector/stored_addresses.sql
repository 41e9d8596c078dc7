-- What the inventory said of addresses and hosts so far: a load that says otherwise ends it.
-- In: cluster, row_limit (rows). Out: the columns of an alias.
SELECT
    kind, name_namespace, name, valid_from, valid_to, namespace, workload, service, service_account, pod, version, is_gateway
FROM aliases FINAL
WHERE cluster = {cluster:String} AND evidence = 'inventory' AND kind IN ('pod_ip', 'service_ip', 'host')
ORDER BY kind, name, valid_from
LIMIT {row_limit:UInt64}
