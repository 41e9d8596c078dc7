-- The newest version of what names of operations rest on.
-- In: nothing. Out: one row, version (0 = there is none).
SELECT max(version) AS version
FROM operations
