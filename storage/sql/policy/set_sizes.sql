-- How many documents each set of policies has.
-- In: row_limit (rows). Out: valid_from, set_id, documents; empty sets are left out.
SELECT valid_from, set_id, count() AS documents
FROM policies FINAL
WHERE place > 0
GROUP BY valid_from, set_id
ORDER BY valid_from, set_id
LIMIT {row_limit:UInt64}
