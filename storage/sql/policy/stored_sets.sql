-- The sets of policies, in the order in which they hold: of two of one time the one loaded last.
-- In: row_limit (rows). Out: valid_from, set_id, loaded_at, files (names, a line each).
SELECT
    s.valid_from AS valid_from,
    argMax(s.set_id, (s.loaded_at, s.set_id)) AS set_id,
    max(s.loaded_at) AS loaded_at,
    argMax(s.file, (s.loaded_at, s.set_id)) AS files
FROM policies AS s FINAL
WHERE s.place = 0
GROUP BY s.valid_from
ORDER BY s.valid_from
LIMIT {row_limit:UInt64}
