-- Which pods have a sidecar, and of which node of the map they are, as far as the inventory knows.
-- Inputs: row_limit (rows).
-- Output: namespace and name of the node (its service, or its workload where no service selects it), has_sidecar, valid_from
-- and valid_to: one row for each such pod's time.
SELECT DISTINCT
    a.namespace AS namespace,
    if(a.service = '', a.workload, a.service) AS name,
    i.has_sidecar AS has_sidecar,
    i.valid_from AS valid_from,
    i.valid_to AS valid_to
FROM (
    SELECT cluster, namespace, name, has_sidecar, valid_from, valid_to
    FROM inventory FINAL
    WHERE kind = 'Pod'
) AS i
INNER JOIN (
    SELECT DISTINCT cluster, namespace, pod, workload, service
    FROM aliases FINAL
    WHERE kind = 'pod_ip' AND pod != ''
) AS a ON i.cluster = a.cluster AND i.namespace = a.namespace AND i.name = a.pod
WHERE name != ''
ORDER BY namespace, name, valid_from
LIMIT {row_limit:UInt64}
