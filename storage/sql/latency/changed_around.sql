-- What was changed on purpose in a window: policies that began to hold, and pods that began to run.
-- Inputs: since, until (UTC, [since, until)), row_limit (rows). Output: at, what (policies|pods), namespace, node, many; the latest first.
SELECT at, what, namespace, node, many
FROM (
    SELECT valid_from AS at, 'policies' AS what, '' AS namespace, '' AS node, toUInt64(count()) AS many
    FROM policies FINAL
    WHERE place > 0 AND valid_from >= {since:DateTime64(6, 'UTC')} AND valid_from < {until:DateTime64(6, 'UTC')}
    GROUP BY valid_from
    UNION ALL
    SELECT min(valid_from) AS at, 'pods' AS what, namespace, if(service = '', workload, service) AS node,
        toUInt64(uniqExact(pod)) AS many
    FROM aliases FINAL
    WHERE kind = 'pod_ip' AND pod != ''
        AND valid_from >= {since:DateTime64(6, 'UTC')} AND valid_from < {until:DateTime64(6, 'UTC')}
    GROUP BY namespace, node
)
ORDER BY at DESC, what, namespace, node
LIMIT {row_limit:UInt64}
SETTINGS prefer_column_name_to_alias = 1
