-- Whether the pods of a service have sidecars, as far as the inventory knows pods that lived in a window.
-- Inputs: since, until (UTC seconds), row_limit (rows).
-- Output: namespace and name of each node (its service, or its workload where no service selects it), whether all of its
-- pods have a sidecar, and whether any has.
SELECT
    a.namespace AS namespace,
    if(a.service = '', a.workload, a.service) AS name,
    min(i.has_sidecar) AS all_have,
    max(i.has_sidecar) AS any_has
FROM (
    SELECT DISTINCT cluster, namespace, name, has_sidecar
    FROM inventory FINAL
    WHERE kind = 'Pod' AND valid_from < {until:DateTime64(0, 'UTC')} AND valid_to > {since:DateTime64(0, 'UTC')}
) AS i
INNER JOIN (
    SELECT DISTINCT cluster, namespace, pod, workload, service
    FROM aliases FINAL
    WHERE kind = 'pod_ip' AND pod != ''
) AS a ON i.cluster = a.cluster AND i.namespace = a.namespace AND i.name = a.pod
GROUP BY namespace, name
HAVING name != ''
ORDER BY namespace, name
LIMIT {row_limit:UInt64}
