-- The documents of one set of policies.
-- In: valid_from, set_id, row_limit (rows). Out: place, engine, kind, namespace, name, file, line, document; by place.
SELECT place, engine, kind, namespace, name, file, line, document
FROM policies FINAL
WHERE valid_from = {valid_from:DateTime64(6)} AND set_id = {set_id:String} AND place > 0
ORDER BY place
LIMIT {row_limit:UInt64}
