-- What names of operations rested on at a version: of every kind and service the newest row up to it.
-- In: version, row_limit (rows). Out: kind (limits, rules or learnt), namespace, service, texts.
SELECT o.kind, o.namespace, o.service, argMax(o.texts, o.version) AS texts
FROM operations AS o
WHERE o.version <= {version:UInt64}
GROUP BY o.kind, o.namespace, o.service
ORDER BY o.kind, o.namespace, o.service
LIMIT {row_limit:UInt64}
