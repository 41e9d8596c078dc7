-- The first and the last day of which any edge is stored: what a window without an end reaches to.
-- Inputs: none. Output: one row, first and last (starts of days; both 1970-01-01 when there is none).
SELECT min(day) AS first, max(day) AS last
FROM (
    SELECT day FROM edges_1d
    UNION ALL
    SELECT day FROM derived_edges_1d
)
