-- Namespaces with their labels and annotations, as last loaded.
-- In: row_limit (rows). Out: namespace, labels, annotations.
SELECT name AS namespace, labels, annotations
FROM inventory FINAL
WHERE kind = 'Namespace'
ORDER BY name, valid_from
LIMIT {row_limit:UInt64}
